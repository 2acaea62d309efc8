package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// A crowd is peers that are in the map and nowhere else, each with what a
// usual one has: two addresses, endpoints, a system, services, an owner.

const crowdFirstID = 1_000_000

func makeCrowd(n int) []*tailcfg.Node {
	crowd := make([]*tailcfg.Node, n)

	for i := range crowd {
		var a4 = [4]byte{100, 100, byte(i >> 8), byte(i)}
		var a16 = netip.MustParseAddr("fd7a:115c:a1e0:ab12::").As16()

		a4[1] += byte(i >> 16)
		a16[13], a16[14], a16[15] = byte(i>>16), byte(i>>8), byte(i)

		addrs := []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4(a4), 32),
			netip.PrefixFrom(netip.AddrFrom16(a16), 128),
		}

		online := i%3 == 0
		crowd[i] = &tailcfg.Node{
			ID:                tailcfg.NodeID(crowdFirstID + i),
			StableID:          tailcfg.StableNodeID(fmt.Sprintf("nCROWD%06d", i)),
			Name:              fmt.Sprintf("machine-%d.lab.test.", i),
			User:              tailcfg.UserID(1 + i%200),
			Key:               key.NewNode().Public(),
			KeyExpiry:         time.Now().Add(180 * 24 * time.Hour).UTC(),
			Machine:           key.NewMachine().Public(),
			DiscoKey:          key.NewDisco().Public(),
			Addresses:         addrs,
			AllowedIPs:        addrs,
			HomeDERP:          901,
			Created:           time.Now().Add(-24 * time.Hour).UTC(),
			Cap:               tailcfg.CurrentCapabilityVersion,
			Online:            &online,
			MachineAuthorized: true,
			Endpoints: []netip.AddrPort{
				netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:41641", i%250)),
				netip.MustParseAddrPort(fmt.Sprintf("10.%d.%d.%d:41641",
					i>>16&255, i>>8&255, i&255)),
			},
			Hostinfo: (&tailcfg.Hostinfo{
				OS:       []string{"linux", "windows", "macOS", "iOS"}[i%4],
				Hostname: fmt.Sprintf("machine-%d", i),
				Services: []tailcfg.Service{
					{Proto: tailcfg.PeerAPI4, Port: uint16(10000 + i%50000)},
					{Proto: tailcfg.PeerAPI6, Port: uint16(10000 + i%50000)},
				},
			}).View(),
		}
	}

	return crowd
}

func (a *adminServer) setCrowd(c *call) error {
	n, err := strconv.Atoi(c.r.FormValue("n"))
	if err != nil || n < 0 || n > 1_000_000 {
		return fmt.Errorf("?n=: %q", c.r.FormValue("n"))
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	a.crowd = makeCrowd(n)
	a.crowdFor = strings.Split(c.r.FormValue("for"), ",")
	a.crowdTimes = map[string]float64{}

	return nil
}

func (a *adminServer) getCrowd() any {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.crowdTimes
}

// addCrowd is called with a.mu held. An update of a node's own endpoints, which
// may come before its stream, is answered without it.
func (a *adminServer) addCrowd(mr *tailcfg.MapResponse,
	req *tailcfg.MapRequest) {

	name := req.Hostinfo.Hostname

	if !req.Stream || len(a.crowd) == 0 ||
		!slices.Contains(a.crowdFor, name) {

		return
	}

	// The automatic maps that follow know nothing of it and would take it
	// away: from here on there are only those the tests send.
	go a.s.AddRawMapResponse(req.NodeKey, &tailcfg.MapResponse{})

	mr.Peers = append(mr.Peers, a.crowd...)
	a.crowdTimes[name] = float64(time.Now().UnixNano()) / 1e9

	for i := range 200 {
		mr.UserProfiles = append(mr.UserProfiles, tailcfg.UserProfile{
			ID:          tailcfg.UserID(1 + i),
			LoginName:   fmt.Sprintf("user-%d@example.com", i),
			DisplayName: fmt.Sprintf("User %d", i),
		})
	}
}
