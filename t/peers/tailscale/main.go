// Copyright (C) the ngx_tailnet authors

// A file server and a reverse proxy on tsnet, the rival of "make bench" that
// is a Go program with a node inside, as caddy-tailscale is.
//
//	tsnetd -dir STATE -control URL -key FILE -hostname NAME -root FILES
//	    -cert FILE -cert-key FILE [-upstream HOST:PORT -proxy ADDRESS]
//
// On the tailnet it serves FILES at port 80, and by TLS at 443. At ADDRESS,
// on the host, it passes requests to the upstream on the tailnet.
package main

import (
	"crypto/tls"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"tailscale.com/tsnet"
)

func main() {
	dir := flag.String("dir", "", "the node's state")
	control := flag.String("control", "", "URL of the control server")
	key := flag.String("key", "", "file with the auth key")
	hostname := flag.String("hostname", "tsnet", "the node's name")
	root := flag.String("root", "", "what to serve")
	cert := flag.String("cert", "", "certificate")
	certKey := flag.String("cert-key", "", "its key")
	upstream := flag.String("upstream", "", "host:port on the tailnet")
	proxy := flag.String("proxy", "", "address for the proxy, on the host")
	verbose := flag.Bool("verbose", false, "log what the node does")
	flag.Parse()

	text, err := os.ReadFile(*key)
	if err != nil {
		log.Fatal(err)
	}

	node := &tsnet.Server{
		Dir:        *dir,
		Hostname:   *hostname,
		ControlURL: *control,
		AuthKey:    strings.TrimSpace(string(text)),
	}
	if *verbose {
		node.Logf = log.Printf
	}
	if err := node.Start(); err != nil {
		log.Fatal(err)
	}

	files := http.FileServer(http.Dir(*root))

	plain, err := node.Listen("tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(plain, files)) }()

	pair, err := tls.LoadX509KeyPair(*cert, *certKey)
	if err != nil {
		log.Fatal(err)
	}
	secure, err := node.Listen("tcp", ":443")
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{
		Certificates:           []tls.Certificate{pair},
		SessionTicketsDisabled: true,
	}
	quiet := &http.Server{Handler: files, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { log.Fatal(quiet.Serve(tls.NewListener(secure, config))) }()

	if *proxy != "" {
		go forward(node, *proxy, *upstream)
	}

	select {}
}

func forward(node *tsnet.Server, address, upstream string) {
	to := &url.URL{Scheme: "http", Host: upstream}
	handler := httputil.NewSingleHostReverseProxy(to)
	handler.Transport = &http.Transport{
		DialContext:         node.Dial,
		MaxIdleConnsPerHost: 64,
	}
	log.Fatal(http.ListenAndServe(address, handler))
}
