// Put into package magicsock by generate: its own answers to
// random pairs of addresses, as C text for t/unit/path_quality.c.
package magicsock

import (
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"testing"
	"time"

	"tailscale.com/net/packet"
	"tailscale.com/net/tstun"
)

func TestWriteBetter(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	ips := []string{"192.0.2.1", "203.0.113.5", "10.1.2.3", "192.168.0.9",
		"169.254.3.3", "127.0.0.1", "2001:db8::1", "fd00::1", "fe80::1", "::1"}
	ms := []int{0, 1, 2, 5, 9, 10, 11, 50, 99, 100, 101, 200, 300}
	mtus := []int{0, 1360, 8980}

	one := func() (q addrQuality, text string) {
		ip := ips[r.Intn(len(ips))]
		port := 1 + r.Intn(2)
		vni := 0
		lat := ms[r.Intn(len(ms))]
		mtu := mtus[r.Intn(len(mtus))]

		if r.Intn(12) == 0 {
			return q, `{ "", 0, 0, 0 }`
		}

		if r.Intn(5) == 0 {
			vni = 7
		}

		q.ap = netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port))
		if vni != 0 {
			var v packet.VirtualNetworkID
			v.Set(uint32(vni))
			q.vni = v
		}
		q.latency = time.Duration(lat) * time.Millisecond
		q.wireMTU = tstun.WireMTU(mtu)

		return q, fmt.Sprintf(`{ "%s", %d, %d, %d }`, q.ap, vni, lat, mtu)
	}

	out, err := os.Create(os.Getenv("BETTER_OUT"))
	if err != nil {
		t.Fatal(err)
	}

	fmt.Fprint(out, "\n/* made by t/vectors/path/generate, tailscale.com v1.102.5 */\n\n")
	fmt.Fprint(out, "static const quality_case_t  quality_cases[] = {\n")

	for range 400 {
		a, at := one()
		b, bt := one()
		fmt.Fprintf(out, "    { %s,\n      %s, %v },\n", at, bt, betterAddr(a, b))
	}

	fmt.Fprint(out, "};\n")

	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
