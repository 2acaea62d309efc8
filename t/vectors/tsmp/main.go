// Command tsmpvectors prints TSMP messages as Tailscale's own code makes
// them, for t/unit/tsmp.c: a name and the packet in hexadecimal.
//
// Run in this folder: GOFLAGS=-mod=mod go run . > vectors.txt
package main

import (
	"fmt"
	"log"
	"net/netip"

	"go4.org/mem"
	"tailscale.com/net/packet"
	"tailscale.com/types/ipproto"
	"tailscale.com/types/key"
)

func main() {
	var raw [32]byte
	for i := range raw {
		raw[i] = byte(i + 1)
	}
	for _, a := range [][2]string{
		{"100.64.0.1", "100.64.0.2"},
		{"fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2"},
	} {
		src, dst := netip.MustParseAddr(a[0]), netip.MustParseAddr(a[1])
		reject := packet.TailscaleRejectedHeader{
			IPSrc: src, IPDst: dst,
			Src: netip.AddrPortFrom(dst, 50000), Dst: netip.AddrPortFrom(src, 22),
			Proto: ipproto.TCP, Reason: packet.RejectedDueToACLs,
		}
		fmt.Printf("reject %x\n", packet.Generate(reject, nil))
		reject.MaybeBroken = true
		reject.Reason = packet.RejectedDueToHostFirewall
		fmt.Printf("broken %x\n", packet.Generate(reject, nil))

		var header packet.Header = packet.IP4Header{IPProto: ipproto.TSMP, Src: src, Dst: dst}
		if src.Is6() {
			header = packet.IP6Header{IPProto: ipproto.TSMP, Src: src, Dst: dst}
		}
		fmt.Printf("ping %x\n", packet.Generate(header, []byte("p12345678")))
		fmt.Printf("pong %x\n", packet.Generate(packet.TSMPPongReply{
			IPHeader: header, Data: [8]byte([]byte("12345678")), PeerAPIPort: 41234}, nil))

		advert := packet.TSMPDiscoKeyAdvertisement{
			Src: src, Dst: dst, Key: key.DiscoPublicFromRaw32(mem.B(raw[:]))}
		b, err := advert.Marshal()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("disco %x\n", b)
	}
}
