// Command ingress plays the relay of Funnel in the lab: what connects to it
// is brought to a node by a request to that node's PeerAPI, as the relays on
// the Internet do. It reaches the PeerAPI by the routes of its host, where a
// real tailscaled has a TUN.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

func main() {
	var (
		listen = flag.String("listen", ":4443", "where clients connect")
		api    = flag.String("peerapi", "", "HOST:PORT of the node's PeerAPI")
		target = flag.String("target", "", "NAME:PORT that they want")
		src    = flag.String("src", "", "say that all clients have this address")
	)

	flag.Parse()
	log.SetFlags(log.Ltime | log.Lmicroseconds)

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}

	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}

		from := *src
		if from == "" {
			from = c.RemoteAddr().String()
		}

		go func() {
			if err := bring(c.(*net.TCPConn), *api, *target, from); err != nil {
				log.Printf("%s: %v", from, err)
			}
		}()
	}
}

func bring(client *net.TCPConn, api, target, from string) error {
	defer client.Close()

	conn, err := net.Dial("tcp", api)
	if err != nil {
		return err
	}
	node := conn.(*net.TCPConn)
	defer node.Close()

	fmt.Fprintf(node, "POST /v0/ingress HTTP/1.1\r\n"+
		"Host: %s\r\n"+
		"Tailscale-Ingress-Src: %s\r\n"+
		"Tailscale-Ingress-Target: %s\r\n"+
		"\r\n", api, from, target)

	r := bufio.NewReader(node)

	resp, err := http.ReadResponse(r, &http.Request{Method: "POST"})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the node answers %s", resp.Status)
	}

	// a server that speaks first may do so at once

	if n := r.Buffered(); n > 0 {
		first, _ := r.Peek(n)
		if _, err := client.Write(first); err != nil {
			return err
		}
	}

	var wg sync.WaitGroup
	pass := func(to, from *net.TCPConn) {
		defer wg.Done()
		io.Copy(to, from)
		to.CloseWrite()
	}

	wg.Add(2)
	go pass(node, client)
	go pass(client, node)
	wg.Wait()

	return nil
}
