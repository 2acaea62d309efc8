// Command testcontrol serves the tailnet control server that tailscale.com
// ships for its own integration tests, for the lab in t/lib/Tailnet.
//
// Nodes talk to the address given by -listen; the tests talk to the address
// given by -admin (see admin.go), which may be "unix:PATH".
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/dnstype"
)

func main() {
	var (
		listen   = flag.String("listen", "127.0.0.1:8080", "address for nodes")
		baseURL  = flag.String("url", "", "URL nodes reach us by (default: from -listen)")
		certFile = flag.String("tls-cert", "", "PEM certificate; with -tls-key, nodes are served by https")
		keyFile  = flag.String("tls-key", "", "PEM private key")
		admin    = flag.String("admin", "", "address for the tests, HOST:PORT or unix:PATH")
		derpMap  = flag.String("derp-map", "", "JSON file with the DERP map")
		domain   = flag.String("domain", "lab.test", "MagicDNS domain; empty for none")
		authKey  = flag.String("auth-key", "", "the one auth key that is accepted; empty: none is asked for")
		sameUser = flag.Bool("same-user", false, "all nodes belong to one user")
		online   = flag.Bool("online", true, "peers are reported online")
		relay    = flag.Bool("peer-relay", false, "every node may relay for every other")
		setTXT   = flag.String("set-txt", "", "URL of pebble-challtestsrv's /set-txt, which gets the TXT records of set-dns")
		verbose  = flag.Bool("verbose", false, "log requests")
	)

	flag.Parse()
	log.SetFlags(log.Ltime | log.Lmicroseconds)

	if err := run(*listen, *baseURL, *certFile, *keyFile, *admin, *derpMap, *setTXT,
		&testcontrol.Server{
			MagicDNSDomain:   *domain,
			RequireAuthKey:   *authKey,
			AllNodesSameUser: *sameUser,
			AllOnline:        *online,
			PeerRelayGrants:  *relay,
			Verbose:          *verbose,
		}); err != nil {
		log.Fatal(err)
	}
}

func run(listen, baseURL, certFile, keyFile, admin, derpMap, setTXT string,
	s *testcontrol.Server) error {

	if derpMap != "" {
		b, err := os.ReadFile(derpMap)
		if err != nil {
			return err
		}

		s.DERPMap = new(tailcfg.DERPMap)
		if err := json.Unmarshal(b, s.DERPMap); err != nil {
			return fmt.Errorf("%s: %w", derpMap, err)
		}

	} else {
		// Without this the server hands out the public DERP map.
		s.DERPMap = &tailcfg.DERPMap{}
	}

	if s.MagicDNSDomain != "" {
		s.DNSConfig = &tailcfg.DNSConfig{
			Proxied: true,
			Domains: []string{s.MagicDNSDomain},
			Routes: map[string][]*dnstype.Resolver{
				s.MagicDNSDomain: nil,
			},
		}
	}

	tls := certFile != "" || keyFile != ""

	s.ExplicitBaseURL = strings.TrimSuffix(baseURL, "/")
	if s.ExplicitBaseURL == "" {
		s.ExplicitBaseURL = "http://" + listen
		if tls {
			s.ExplicitBaseURL = "https://" + listen
		}
	}

	nodes, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}

	failed := make(chan error, 2)

	if admin != "" {
		l, err := listenAdmin(admin)
		if err != nil {
			return err
		}
		defer l.Close()

		go func() { failed <- http.Serve(l, newAdmin(s, setTXT)) }()
	}

	go func() {
		if tls {
			failed <- http.ServeTLS(nodes, s, certFile, keyFile)
		} else {
			failed <- http.Serve(nodes, s)
		}
	}()

	log.Printf("serving %s", s.ExplicitBaseURL)

	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGTERM, syscall.SIGINT)

	select {
	case err := <-failed:
		return err
	case <-quit:
		return nil
	}
}

func listenAdmin(addr string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(addr, "unix:")
	if !isUnix {
		return net.Listen("tcp", addr)
	}

	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}

	return net.Listen("unix", path)
}
