// Command filtervectors judges packets by Tailscale's own packet filter and
// prints rules, packets and verdicts as JSON for t/unit/filter.c.
//
// Run in this folder: go run . > ../../vectors/filter/vectors.json
// With -seed N -rounds N only that many sets of random rules are made, each
// with its packets: what t/filter.t has our filter judge too.
//
// A packet is one string: a letter and the packet in hexadecimal.
//
//	i, I  comes in: accepted, dropped
//	o, O  goes out: accepted, dropped
//	x     comes in, upstream accepts it and we drop it (see stricter)
//	y     comes in, upstream drops it and we accept it (see wider)
package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"net/netip"
	"strings"

	"go4.org/netipx"
	"tailscale.com/net/packet"
	"tailscale.com/tailcfg"
	"tailscale.com/types/logger"
	"tailscale.com/wgengine/filter"
)

type vector struct {
	Name    string
	Rules   []tailcfg.FilterRule
	Local   []string            // prefixes
	Caps    map[string][]string `json:",omitempty"` // peer's address: its capabilities
	Shields bool                `json:",omitempty"`
	Packets []string
}

var rng = rand.New(rand.NewSource(1))

var locals = []string{
	"100.64.0.1/32", "fd7a:115c:a1e0::1/128", "10.1.0.0/16", "fd00:1::/64",
	"169.254.169.254/32",
}

// addresses that occur as sources and destinations, local ones first
var addrs4 = []string{
	"100.64.0.1", "10.1.2.3", "100.64.0.2", "100.64.0.3", "100.64.0.77",
	"192.168.5.5", "224.0.0.251", "169.254.1.1", "169.254.169.254",
	"255.255.255.255", "0.0.0.0", "10.2.0.1", "100.127.255.255",
}

var addrs6 = []string{
	"fd7a:115c:a1e0::1", "fd00:1::5", "fd7a:115c:a1e0::2",
	"fd7a:115c:a1e0::3", "fd7a:115c:a1e0::4d", "2001:db8::1", "ff02::fb",
	"fe80::1", "::", "fd00:2::5", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}

var sources = []string{
	"*", "100.64.0.2", "100.64.0.3", "100.64.0.0/10", "100.64.0.2-100.64.0.9",
	"fd7a:115c:a1e0::2", "fd7a:115c:a1e0::/48", "0.0.0.0/0", "::/0",
	"fd7a:115c:a1e0::2-fd7a:115c:a1e0::ff", "192.168.0.0/16",
	"100.64.0.70-100.64.0.80", "cap:example.com/a", "cap:example.com/b",
	"10.0.0.0/8", "100.127.255.255", "255.255.255.255/32", "2001:db8::/32",
	// bad ones, to be skipped
	"100.64.0.2/10", "hello", "100.64.0.9-100.64.0.2", "",
	"100.64.0.2-fd7a:115c:a1e0::2", "100.64.0.2/33", "100.64.00.2",
	"100.64.0.2-", "1-2-3", "::/129", "cap:",
}

var destinations = []string{
	"*", "100.64.0.1", "100.64.0.1/32", "10.1.0.0/16", "10.1.2.0/24",
	"10.1.2.3-10.1.2.5", "fd7a:115c:a1e0::1", "fd00:1::/64",
	"fd7a:115c:a1e0::/48", "0.0.0.0/0", "::/0", "100.64.0.0/10",
	"169.254.169.254",
	// bad ones
	"10.1.2.3/16", "web", "cap:example.com/a", "10.1.2.9-10.1.2.3",
}

var ports = []tailcfg.PortRange{
	{First: 0, Last: 65535}, {First: 22, Last: 22}, {First: 80, Last: 443},
	{First: 53, Last: 53}, {First: 1024, Last: 65535}, {First: 0, Last: 0},
	{First: 443, Last: 80},
}

var protoLists = [][]int{
	nil, nil, nil, {6}, {17}, {6, 17}, {1}, {58}, {132}, {47}, {6, 300},
	{300}, {-1, 17}, {1, 6, 17, 58}, {99}, {2, 47, 50}, {0, 255},
}

var portNumbers = []uint16{22, 80, 443, 53, 8080, 0, 65535, 41641, 1024}

func pick[T any](list []T) T { return list[rng.Intn(len(list))] }

func randomRules() []tailcfg.FilterRule {
	var rules []tailcfg.FilterRule
	for range rng.Intn(5) {
		r := tailcfg.FilterRule{IPProto: pick(protoLists)}
		for range 1 + rng.Intn(4) {
			r.SrcIPs = append(r.SrcIPs, pick(sources))
		}
		for range rng.Intn(4) {
			r.DstPorts = append(r.DstPorts, tailcfg.NetPortRange{
				IP: pick(destinations), Ports: pick(ports)})
		}
		rules = append(rules, r)
	}
	return rules
}

func ip4(proto byte, src, dst string, frag uint16, body []byte) []byte {
	b := make([]byte, 20, 20+len(body))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(b[6:], frag)
	b[8] = 64
	b[9] = proto
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	return append(b, body...)
}

func ip6(proto byte, src, dst string, body []byte) []byte {
	b := make([]byte, 40, 40+len(body))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	b[6] = proto
	b[7] = 64
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(b, body...)
}

func withPorts(n int, src, dst uint16) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	return b
}

func tcp(src, dst uint16, flags byte) []byte {
	b := withPorts(20, src, dst)
	b[12] = 0x50
	b[13] = flags
	return b
}

func udp(src, dst uint16) []byte {
	b := withPorts(8, src, dst)
	b[5] = 8
	return b
}

func icmp(typ, code byte) []byte { return []byte{typ, code, 0, 0, 0, 1, 0, 2} }

func fragHeader(next byte, offset, more uint16) []byte {
	b := make([]byte, 8)
	b[0] = next
	binary.BigEndian.PutUint16(b[2:], offset<<3|more)
	return b
}

var tcpFlags = []byte{0x02, 0x02, 0x02, 0x02, 0x12, 0x10, 0x04, 0x18, 0x03, 0xc2, 0x00}

func randomPacket() []byte {
	src, dst := pick(portNumbers), pick(portNumbers)
	six := rng.Intn(2) == 1
	var proto byte
	var body []byte
	switch n := rng.Intn(20); {
	case n < 6:
		proto, body = 6, tcp(src, dst, pick(tcpFlags))
	case n < 11:
		proto, body = 17, udp(src, dst)
	case n < 12:
		proto, body = 132, withPorts(12, src, dst)
	case n < 15:
		// ICMPv4 type 12 and 18: see test "ICMP types"
		proto, body = 1, icmp(pick([]byte{0, 3, 8, 11, 5, 13}), byte(rng.Intn(2)))
		if six {
			proto, body = 58, icmp(pick([]byte{1, 2, 3, 4, 128, 129, 135, 0}), byte(rng.Intn(2)))
		}
		if rng.Intn(12) == 0 {
			proto ^= 1 ^ 58
		}
		if rng.Intn(12) == 0 {
			body = body[:4]
		}
	case n < 16:
		proto, body = 99, []byte("p12345678")
	case n < 18:
		proto, body = pick([]byte{47, 50, 2, 41, 4, 89, 59}), make([]byte, 24)
	case n < 19:
		proto, body = pick([]byte{0, 255, 60, 43, 51, 253}), make([]byte, 24)
		if six && proto != 253 {
			body[0] = 6 // the next header
		}
	default:
		proto, body = pick([]byte{6, 17, 132}), make([]byte, 1+rng.Intn(7))
	}

	// mostly from peers to local addresses
	s, d := rng.Intn(len(addrs4)), rng.Intn(2)
	if rng.Intn(5) == 0 {
		d = rng.Intn(len(addrs4))
	}
	if six {
		s %= len(addrs6)
		d %= len(addrs6)
		if rng.Intn(12) == 0 && proto != 0 && proto != 60 && proto != 43 {
			offset := pick([]uint16{0, 0, 1, 9, 10, 100})
			body = append(fragHeader(proto, offset, uint16(rng.Intn(2))), body...)
			proto = 44
		}
		return ip6(proto, addrs6[s], addrs6[d], body)
	}
	var frag uint16
	if rng.Intn(12) == 0 {
		frag = pick([]uint16{0x2000, 0x2000, 1, 9, 10, 100, 0x2064})
	}
	return ip4(proto, addrs4[s], addrs4[d], frag, body)
}

type judge struct {
	v     *vector
	f     *filter.Filter
	local *netipx.IPSet
	seen  map[string]bool
}

func newJudge(v *vector) *judge {
	// a bad entry comes as an error beside all the good ones
	matches, err := filter.MatchesFromFilterRules(v.Rules)
	if matches == nil {
		log.Fatalf("%s: %v", v.Name, err)
	}
	var b netipx.IPSetBuilder
	for _, p := range v.Local {
		b.AddPrefix(netip.MustParsePrefix(p))
	}
	local, err := b.IPSet()
	if err != nil {
		log.Fatal(err)
	}
	j := &judge{v: v, local: local, seen: make(map[string]bool)}
	if v.Shields {
		j.f = filter.NewShieldsUpFilter(local, nil, nil, logger.Discard)
		return j
	}
	hasCap := func(src netip.Addr, c tailcfg.NodeCapability) bool {
		for _, have := range v.Caps[src.String()] {
			if have == string(c) {
				return true
			}
		}
		return false
	}
	j.f = filter.New(matches, hasCap, local, nil, nil, logger.Discard)
	return j
}

// stricter says which packets that upstream accepts we drop.
func (j *judge) stricter(b []byte, q *packet.Parsed) bool {
	switch {
	case q.IPVersion == 4 && b[0]&15 < 5:
		return true // the transport header would lie in the IP header
	case q.IPVersion == 6 && (q.Src.Addr().Is4In6() || q.Dst.Addr().Is4In6()):
		return true // would pass for IPv4
	case q.IPProto == 255:
		// a later fragment (upstream's mark) for somebody else's address,
		// of a reserved protocol or of TSMP, which is never fragmented
		proto := b[9]
		if q.IPVersion == 6 {
			proto = b[40]
		}
		return !j.local.Contains(q.Dst.Addr()) || proto == 0 ||
			proto == 99 || proto == 255
	case q.IPProto == 6:
		// options behind the end of the packet
		t := q.Transport()
		return int(t[12]>>4)*4 < 20 || int(t[12]>>4)*4 > len(t)
	case q.IPVersion == 4 && q.IPProto == 1:
		// an address mask reply, which upstream takes for a parameter
		// problem
		t := q.Transport()
		return len(t) >= 8 && t[0] == 18 && !j.ruleCovers(q)
	case q.IPProto == 99:
		// TSMP in an IPv6 fragment
		return q.IPVersion == 6 && b[6] == 44
	}
	return false
}

// wider says which packets that upstream drops we accept.
func (j *judge) wider(q *packet.Parsed) bool {
	if q.IPVersion != 4 || q.IPProto != 1 {
		return false
	}
	// RFC 792: the parameter problem is type 12
	t := q.Transport()
	return len(t) >= 8 && t[0] == 12 && j.local.Contains(q.Dst.Addr())
}

// ruleCovers says whether an echo request in place of q would be accepted.
func (j *judge) ruleCovers(q *packet.Parsed) bool {
	b := append([]byte(nil), q.Buffer()...)
	b[20] = 8
	var p packet.Parsed
	p.Decode(b)
	return j.f.RunIn(&p, 0) == filter.Accept
}

func (j *judge) in(b []byte) {
	var q packet.Parsed
	q.Decode(b)
	letter := "I"
	if j.f.RunIn(&q, 0) == filter.Accept {
		letter = "i"
		if j.stricter(b, &q) {
			letter = "x"
		}
	} else if j.wider(&q) {
		letter = "y"
	}
	j.put(letter, b)
}

func (j *judge) out(b []byte) {
	var q packet.Parsed
	q.Decode(b)
	letter := "O"
	if r, _ := j.f.RunOut(&q, 0); r == filter.Accept {
		letter = "o"
	}
	j.put(letter, b)
}

func (j *judge) put(letter string, b []byte) {
	s := letter + hex.EncodeToString(b)
	if letter == "i" || letter == "I" {
		if j.seen[s] {
			return
		}
		j.seen[s] = true
	}
	j.v.Packets = append(j.v.Packets, s)
}

func reverse(b []byte) []byte {
	r := append([]byte(nil), b...)
	if b[0]>>4 == 4 {
		copy(r[12:16], b[16:20])
		copy(r[16:20], b[12:16])
		copy(r[20:22], b[22:24])
		copy(r[22:24], b[20:22])
	} else {
		copy(r[8:24], b[24:40])
		copy(r[24:40], b[8:24])
		copy(r[40:42], b[42:44])
		copy(r[42:44], b[40:42])
	}
	return r
}

func allowAll() []tailcfg.FilterRule { return tailcfg.FilterAllowAll }

func main() {
	seed := flag.Int64("seed", 0, "make random sets from this; 0: the vectors")
	rounds := flag.Int("rounds", 30, "how many random sets")
	flag.Parse()

	if *seed != 0 {
		rng = rand.New(rand.NewSource(*seed))
	} else {
		chosen()
	}

	random(*rounds)
	write()
}

var vectors []*vector

func begin(v *vector) *judge {
	if v.Local == nil {
		v.Local = locals
	}
	vectors = append(vectors, v)
	return newJudge(v)
}

// chosen makes the sets that are the same in each run.
func chosen() {
	// every kind of packet, under "allow all", "allow nothing", shields up

	for _, v := range []*vector{
		{Name: "allow all", Rules: allowAll()},
		{Name: "allow nothing"},
		{Name: "shields up", Rules: allowAll(), Shields: true},
		{Name: "no local address", Rules: allowAll(), Local: []string{}},
	} {
		j := begin(v)
		for range 120 {
			j.in(randomPacket())
		}
	}

	// flows: what goes out lets its answer in, and nothing else

	j := begin(&vector{Name: "flows"})
	for _, six := range []bool{false, true} {
		for _, proto := range []byte{17, 132, 6} {
			for _, d := range []int{2, 5, 6, 7} {
				body := withPorts(20, 5000, 53)
				body[5] = 20
				body[12] = 0x50
				body[13] = 2
				b := ip4(proto, addrs4[0], addrs4[d], 0, body)
				if six {
					b = ip6(proto, addrs6[0], addrs6[d], body)
				}
				r := reverse(b)
				j.in(r)
				j.out(b)
				j.in(append([]byte(nil), r...))
				for _, at := range []int{1, 3, 12, 15, 16, 19} {
					c := append([]byte(nil), r...)
					if six {
						at += 20
					}
					if at < 4 {
						at += 20
					}
					c[at] ^= 1
					j.in(c)
				}
				j.seen = make(map[string]bool)
				j.in(r)
			}
		}
	}

	// headers that try to deceive

	j = begin(&vector{Name: "headers", Rules: []tailcfg.FilterRule{{
		SrcIPs:   []string{"*"},
		DstPorts: []tailcfg.NetPortRange{{IP: "*", Ports: ports[1]}},
	}}})
	syn := ip4(6, addrs4[2], addrs4[0], 0, tcp(1, 22, 2))
	syn6 := ip6(6, addrs6[2], addrs6[0], tcp(1, 22, 2))
	for n := 1; n <= len(syn); n++ {
		j.in(syn[:n])
	}
	for n := 1; n <= len(syn6); n++ {
		j.in(syn6[:n])
	}
	for n := range 16 {
		b := append([]byte(nil), syn...)
		b[0] = 0x40 | byte(n)
		j.in(b)
		b = append([]byte(nil), syn...)
		b[0] = byte(n<<4 | 5)
		j.in(b)
		b = append([]byte(nil), syn...)
		b[32] = byte(n << 4)
		j.in(b)
		b = append([]byte(nil), syn6...)
		b[52] = byte(n << 4)
		j.in(b)
	}
	for _, n := range []uint16{0, 1, 19, 20, 21, 39, 40, 41, 65535} {
		b := append([]byte(nil), syn...)
		binary.BigEndian.PutUint16(b[2:], n)
		if n >= 20 && n < 40 {
			// upstream reads a transport header behind the packet's end;
			// cut the buffer to make it judge what the header says
			b = b[:n]
		}
		j.in(b)
		b = append([]byte(nil), syn6...)
		binary.BigEndian.PutUint16(b[4:], n)
		if n < 20 {
			b = b[:40+n]
		}
		j.in(b)
	}
	j.in(append(append([]byte(nil), syn...), make([]byte, 12)...))
	j.in(append(append([]byte(nil), syn6...), make([]byte, 12)...))
	options := append(append([]byte(nil), syn[:20]...), 1, 1, 1, 0)
	options = append(options, syn[20:]...)
	options[0] = 0x46
	options[3] = byte(len(options))
	j.in(options)
	for offset := range uint16(16) {
		j.in(ip4(6, addrs4[2], addrs4[0], offset, make([]byte, 24)))
		j.in(ip4(17, addrs4[2], addrs4[0], offset|0x2000, make([]byte, 24)))
		j.in(ip6(44, addrs6[2], addrs6[0],
			append(fragHeader(6, offset, 1), make([]byte, 24)...)))
	}
	j.in(ip4(6, addrs4[2], addrs4[0], 0x2000, tcp(1, 22, 2)))
	j.in(ip4(6, addrs4[2], addrs4[0], 0x2000, tcp(1, 23, 2)))
	j.in(ip4(6, addrs4[2], addrs4[0], 0x4000, tcp(1, 22, 2)))
	j.in(ip6(44, addrs6[2], addrs6[0], append(fragHeader(6, 0, 1), tcp(1, 22, 2)...)))
	j.in(ip6(44, addrs6[2], addrs6[0], append(fragHeader(6, 0, 1), tcp(1, 23, 2)...)))
	j.in(ip6(44, addrs6[2], addrs6[0], append(fragHeader(6, 0, 0), tcp(1, 22, 2)...)))
	j.in(ip6(44, addrs6[2], addrs6[0], append(fragHeader(99, 0, 1), "p12345678"...)))
	j.in(ip4(99, addrs4[2], addrs4[0], 0x2000, []byte("p12345678")))
	for _, next := range []byte{0, 43, 60} {
		j.in(ip6(next, addrs6[2], addrs6[0],
			append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp(1, 22, 2)...)))
	}
	j.in(ip6(44, addrs6[2], addrs6[0], append(fragHeader(60, 0, 1),
		append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp(1, 22, 2)...)...)))
	j.in(ip6(6, "::ffff:100.64.0.2", addrs6[0], tcp(1, 22, 2)))
	j.in(ip6(6, addrs6[2], "::ffff:100.64.0.1", tcp(1, 22, 2)))

	// ICMP types, none of them allowed by a rule, then all

	for _, rules := range [][]tailcfg.FilterRule{nil, allowAll()} {
		j = begin(&vector{Name: "ICMP types", Rules: rules})
		for typ := range byte(20) {
			j.in(ip4(1, addrs4[2], addrs4[0], 0, icmp(typ, 0)))
		}
		for typ := range byte(8) {
			j.in(ip6(58, addrs6[2], addrs6[0], icmp(typ, 0)))
			j.in(ip6(58, addrs6[2], addrs6[0], icmp(typ+128, 0)))
		}
		j.in(ip4(1, addrs4[2], addrs4[0], 0, icmp(0, 1)))
		j.in(ip6(58, addrs6[2], addrs6[0], icmp(129, 1)))
	}

	// each form of a source and of a destination alone

	for _, s := range sources {
		j = begin(&vector{Name: "source " + s,
			Caps: map[string][]string{"100.64.0.2": {"example.com/a"},
				"fd7a:115c:a1e0::3": {"example.com/b", "example.com/a"}},
			Rules: []tailcfg.FilterRule{{SrcIPs: []string{s},
				DstPorts: []tailcfg.NetPortRange{{IP: "*", Ports: ports[1]}}}}})
		for _, a := range addrs4 {
			j.in(ip4(6, a, addrs4[0], 0, tcp(1, 22, 2)))
		}
		for _, a := range addrs6 {
			j.in(ip6(6, a, addrs6[0], tcp(1, 22, 2)))
		}
	}
	for _, d := range destinations {
		j = begin(&vector{Name: "destination " + d,
			Rules: []tailcfg.FilterRule{{SrcIPs: []string{"*"},
				DstPorts: []tailcfg.NetPortRange{{IP: d, Ports: ports[1]}}}}})
		for _, a := range addrs4 {
			j.in(ip4(6, addrs4[2], a, 0, tcp(1, 22, 2)))
		}
		for _, a := range addrs6 {
			j.in(ip6(6, addrs6[2], a, tcp(1, 22, 2)))
		}
	}
	for _, p := range append(ports[:4:4], ports[6]) {
		for _, protos := range protoLists[2:] {
			j = begin(&vector{Name: fmt.Sprint("ports ", p, protos),
				Rules: []tailcfg.FilterRule{{SrcIPs: []string{"*"}, IPProto: protos,
					DstPorts: []tailcfg.NetPortRange{{IP: "*", Ports: p}}}}})
			for _, port := range []uint16{0, 21, 22, 79, 443, 65535} {
				j.in(ip4(6, addrs4[2], addrs4[0], 0, tcp(1, port, 2)))
				j.in(ip6(17, addrs6[2], addrs6[0], udp(1, port)))
			}
			j.in(ip4(132, addrs4[2], addrs4[0], 0, withPorts(12, 1, 22)))
			j.in(ip4(1, addrs4[2], addrs4[0], 0, icmp(8, 0)))
			j.in(ip6(58, addrs6[2], addrs6[0], icmp(128, 0)))
			j.in(ip4(47, addrs4[2], addrs4[0], 0, make([]byte, 8)))
			j.in(ip4(2, addrs4[2], addrs4[0], 0, make([]byte, 8)))
		}
	}
}

// random makes sets of random rules with random packets, some of them going out.
func random(rounds int) {
	for i := range rounds {
		v := &vector{Name: fmt.Sprint("random ", i), Rules: randomRules(),
			Caps: map[string][]string{"100.64.0.3": {"example.com/a"},
				"fd7a:115c:a1e0::4d": {"example.com/b"}}}
		// upstream lets ICMP in by a capability whatever the destination;
		// such rules stand in the test of sources above
		for i := range v.Rules {
			for _, s := range v.Rules[i].SrcIPs {
				if len(s) > 4 && s[:4] == "cap:" {
					v.Rules[i].DstPorts = append(v.Rules[i].DstPorts,
						tailcfg.NetPortRange{IP: "*", Ports: ports[3]})
				}
			}
		}
		j := begin(v)
		for range 50 {
			b := randomPacket()
			if rng.Intn(5) == 0 && (b[0] == 0x45 && b[9] == 17 && len(b) >= 28 || b[0] == 0x60 && b[6] == 17 && len(b) >= 48) {
				j.out(reverse(b))
			}
			j.in(b)
		}
	}
}

func write() {
	// one packet a line, all else short

	fmt.Print("[")
	for i, v := range vectors {
		if i > 0 {
			fmt.Print(",")
		}
		b, err := json.Marshal(v)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("\n%s", strings.ReplaceAll(strings.Replace(string(b),
			`"Packets":[`, "\"Packets\":[\n", 1), `","`, "\",\n\""))
	}
	fmt.Println("\n]")
}
