// Vectors for the codecs of core/wire: what tailscale.com's own packages
// write, as C text for t/unit/{disco,stun,derp}.c.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/disco"
	"tailscale.com/net/stun"
	"tailscale.com/types/key"
)

func text(name string, b []byte) {
	fmt.Printf("static const char  %s[] =", name)

	for len(b) > 0 {
		n := min(len(b), 32)
		fmt.Printf("\n    \"%x\"", b[:n])
		b = b[n:]
	}

	fmt.Print(";\n")
}

func raw(b byte) mem.RO {
	return mem.B(bytes.Repeat([]byte{b}, 32))
}

// A private key that is b repeated, clamped.
func private(b byte) []byte {
	k := bytes.Repeat([]byte{b}, 32)
	k[0] &= 248
	k[31] = k[31]&127 | 64

	return k
}

func discoPrivate(b byte) key.DiscoPrivate {
	return key.DiscoPrivateFromRaw32(mem.B(private(b)))
}

func nodePrivate(b byte) (k key.NodePrivate) {
	err := k.UnmarshalText([]byte(fmt.Sprintf("privkey:%x", private(b))))
	if err != nil {
		panic(err)
	}

	return k
}

func addrs(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}

	return out
}

func main() {
	fmt.Print("\n/* made by t/vectors/path/generate, tailscale.com v1.102.5 */\n\n")

	// disco

	a, b := discoPrivate(0x11), discoPrivate(0x22)
	shared := a.Shared(b.Public())
	node := key.NodePublicFromRaw32(raw(0x33))

	relay := disco.UDPRelayEndpoint{
		ServerDisco:         key.DiscoPublicFromRaw32(raw(0x44)),
		ClientDisco:         [2]key.DiscoPublic{a.Public(), b.Public()},
		LamportID:           0x0102030405060708,
		VNI:                 0x0a0b0c,
		BindLifetime:        30 * time.Second,
		SteadyStateLifetime: 5 * time.Minute,
		AddrPorts:           addrs("192.0.2.1:7", "[2001:db8::1]:65535"),
	}
	bind := disco.BindUDPRelayEndpointCommon{
		VNI:        0x0a0b0c,
		Generation: 7,
		RemoteKey:  b.Public(),
		Challenge:  [32]byte(bytes.Repeat([]byte{0x55}, 32)),
	}
	txid := [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

	text("disco_a_public", a.Public().AppendTo(nil))
	text("disco_b_public", b.Public().AppendTo(nil))

	for _, m := range []struct {
		name string
		msg  disco.Message
	}{
		{"ping", &disco.Ping{TxID: txid, NodeKey: node}},
		{"ping_old", &disco.Ping{TxID: txid}},
		{"ping_padded", &disco.Ping{TxID: txid, NodeKey: node, Padding: 100}},
		{"pong", &disco.Pong{TxID: txid, Src: netip.MustParseAddrPort("192.0.2.9:41641")}},
		{"pong_v6", &disco.Pong{TxID: txid, Src: netip.MustParseAddrPort("[2001:db8::9]:1")}},
		{"call", &disco.CallMeMaybe{MyNumber: addrs("192.0.2.1:1", "[2001:db8::2]:2", "10.0.0.3:3")}},
		{"call_none", &disco.CallMeMaybe{}},
		{"bind", &disco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: bind}},
		{"challenge", &disco.BindUDPRelayEndpointChallenge{BindUDPRelayEndpointCommon: bind}},
		{"answer", &disco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: bind}},
		{"via", &disco.CallMeMaybeVia{UDPRelayEndpoint: relay}},
		{"allocate", &disco.AllocateUDPRelayEndpointRequest{
			ClientDisco: [2]key.DiscoPublic{a.Public(), b.Public()}, Generation: 9}},
		{"allocated", &disco.AllocateUDPRelayEndpointResponse{Generation: 9, UDPRelayEndpoint: relay}},
	} {
		plain := m.msg.AppendMarshal(nil)
		packet := a.Public().AppendTo([]byte(disco.Magic))
		packet = append(packet, shared.Seal(plain)...)

		text("disco_"+m.name, plain)
		text("disco_"+m.name+"_sealed", packet)
	}

	// STUN

	text("stun_request", stun.Request(stun.TxID(txid)))
	text("stun_response_v4", stun.Response(stun.TxID(txid), netip.MustParseAddrPort("203.0.113.77:41641")))
	text("stun_response_v6", stun.Response(stun.TxID(txid), netip.MustParseAddrPort("[2001:db8::77]:3478")))

	// DERP

	server, client := nodePrivate(0x66), nodePrivate(0x77)

	frame := func(t derp.FrameType, payload []byte) []byte {
		f := binary.BigEndian.AppendUint32([]byte{byte(t)}, uint32(len(payload)))
		return append(f, payload...)
	}
	info := func(si derp.ServerInfo) []byte {
		j, err := json.Marshal(si)
		if err != nil {
			panic(err)
		}

		return server.SealTo(client.Public(), j)
	}

	serverPub := server.Public()
	greeting := serverPub.AppendTo([]byte(derp.Magic))

	text("derp_server_private", private(0x66))
	text("derp_client_private", private(0x77))
	text("derp_server_key", frame(derp.FrameServerKey, greeting))
	text("derp_server_info", frame(derp.FrameServerInfo, info(derp.ServerInfo{Version: 2})))
	text("derp_server_info_limit", frame(derp.FrameServerInfo, info(derp.ServerInfo{
		Version: 2, TokenBucketBytesPerSecond: 1000, TokenBucketBytesBurst: 2000})))
	text("derp_recv_packet", frame(derp.FrameRecvPacket,
		append(node.AppendTo(nil), "a packet"...)))
	text("derp_peer_gone", frame(derp.FramePeerGone,
		append(node.AppendTo(nil), byte(derp.PeerGoneReasonNotHere))))
	text("derp_keep_alive", frame(derp.FrameKeepAlive, nil))
	text("derp_ping", frame(derp.FramePing, []byte("12345678")))
	text("derp_health", frame(derp.FrameHealth, []byte("duplicate connection")))
	text("derp_restarting", frame(derp.FrameRestarting, []byte{0, 0, 0, 100, 0, 0, 3, 0xe8}))

	fmt.Println(strings.TrimSpace(""))
}
