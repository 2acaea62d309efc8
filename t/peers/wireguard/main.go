// Copyright (C) the ngx_tailnet authors

// A WireGuard peer: Tailscale's wireguard-go. For t/odd_peers.t between a UDP
// port and a TUN interface, which it makes, until it is killed:
//
//	wireguard -tun <interface> <port> <own private key> <peer's public key>
//		<peer's address>
//
// For t/unit/wg_go.c between a UDP socket on the loopback and a TUN that is
// only a channel:
//
//	wireguard <own private key> <peer's public key> <peer's port>
//
// Prints "port <own port>", then "got <number> <length>" for each inner
// packet.  On standard input a line "send <number> <length>" sends one,
// "forget" makes it forget all it knows of its peer, and the end of the input
// ends the program.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/tailscale/wireguard-go/conn"
	"github.com/tailscale/wireguard-go/device"
	"github.com/tailscale/wireguard-go/tun"
	"github.com/tailscale/wireguard-go/tun/tuntest"
)

func main() {
	if len(os.Args) == 7 && os.Args[1] == "-tun" {
		serve(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6])
		return
	}

	if len(os.Args) != 4 {
		log.Fatal("usage: wireguard private-key peer-key peer-port")
	}

	channel := tuntest.NewChannelTUN()

	level := device.LogLevelError
	if os.Getenv("WIREGUARD_VERBOSE") != "" {
		level = device.LogLevelVerbose
	}

	dev := device.NewDevice(channel.TUN(), conn.NewDefaultBind(),
		device.NewLogger(level, "go: "))

	own := fmt.Sprintf("private_key=%s\nlisten_port=0\n", os.Args[1])
	peer := fmt.Sprintf("public_key=%s\nendpoint=127.0.0.1:%s\n"+
		"allowed_ip=100.64.0.1/32\n", os.Args[2], os.Args[3])
	remove := fmt.Sprintf("public_key=%s\nremove=true\n", os.Args[2])

	set(dev, own+peer)
	if err := dev.Up(); err != nil {
		log.Fatal(err)
	}

	state, err := dev.IpcGet()
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range strings.Split(state, "\n") {
		if port, found := strings.CutPrefix(line, "listen_port="); found {
			fmt.Printf("port %s\n", port)
		}
	}

	go func() {
		for p := range channel.Inbound {
			if len(p) >= 24 {
				fmt.Printf("got %d %d\n", binary.LittleEndian.Uint32(p[20:]),
					len(p))
			}
		}
	}()

	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		if input.Text() == "forget" {
			set(dev, remove)
			set(dev, peer)
			continue
		}

		var number, length int
		if _, err := fmt.Sscanf(input.Text(), "send %d %d", &number,
			&length); err != nil || length < 24 || length > 1280 {
			log.Fatalf("bad line %q", input.Text())
		}
		channel.Outbound <- packet(uint32(number), length)
	}
}

func serve(name, port, key, peer, address string) {
	t, err := tun.CreateTUN(name, 1280)
	if err != nil {
		log.Fatal(err)
	}

	dev := device.NewDevice(t, conn.NewDefaultBind(),
		device.NewLogger(device.LogLevelError, "go: "))

	set(dev, fmt.Sprintf("private_key=%s\nlisten_port=%s\npublic_key=%s\n"+
		"allowed_ip=%s/32\n", key, port, peer, address))
	if err := dev.Up(); err != nil {
		log.Fatal(err)
	}

	fmt.Println("up")

	select {} // until it is killed
}

func set(dev *device.Device, config string) {
	if err := dev.IpcSet(config); err != nil {
		log.Fatal(err)
	}
}

// packet is an IPv4 datagram from 100.64.0.2 to 100.64.0.1 with a number.
func packet(number uint32, length int) []byte {
	p := make([]byte, length)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(length))
	p[8] = 64
	p[9] = 17
	copy(p[12:], []byte{100, 64, 0, 2, 100, 64, 0, 1})
	binary.LittleEndian.PutUint32(p[20:], number)
	return p
}
