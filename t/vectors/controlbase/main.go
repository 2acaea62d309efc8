// Command controlbase writes transcripts of upstream's Noise connection
// (tailscale.com/control/controlbase) for t/unit/control_noise.c:
//
//	go run . >transcript.txt
//
// Randomness is a counter's hashes, so the output is always the same.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"tailscale.com/control/controlbase"
	"tailscale.com/types/key"
)

// counter is the source of randomness; last is what it gave last.
type counter struct {
	n    uint64
	last [32]byte
}

func (c *counter) Read(p []byte) (int, error) {
	var b [8]byte

	binary.BigEndian.PutUint64(b[:], c.n)
	c.n++
	c.last = sha256.Sum256(b[:])

	return copy(p, c.last[:]), nil
}

// recorder keeps what is written to a connection.
type recorder struct {
	net.Conn
	wrote bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.wrote.Write(p)
	return r.Conn.Write(p)
}

func (r *recorder) take() []byte {
	b := bytes.Clone(r.wrote.Bytes())
	r.wrote.Reset()
	return b
}

func main() {
	source := &counter{}
	rand.Reader = source

	for _, version := range []uint16{1, 130, 65535} {
		transcript(source, version)
	}
}

func transcript(source *counter, version uint16) {
	put := func(name string, b []byte) { fmt.Printf("%s %x\n", name, b) }

	fmt.Printf("version %04x\n", version)

	machine := key.NewMachine()
	put("machine", source.last[:])
	control := key.NewMachine()
	controlPub := control.Public()
	put("control", controlPub.UntypedBytes())

	cc, sc := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	cc.SetDeadline(deadline)
	sc.SetDeadline(deadline)
	client := &recorder{Conn: cc}
	server := &recorder{Conn: sc}

	initiation, cont, err := controlbase.ClientDeferred(machine,
		control.Public(), version)
	if err != nil {
		log.Fatal(err)
	}
	put("ephemeral", source.last[:])
	put("initiation", initiation)

	accepted := make(chan *controlbase.Conn)
	go func() {
		c, err := controlbase.Server(context.Background(), server, control,
			initiation)
		if err != nil {
			log.Fatal(err)
		}
		accepted <- c
	}()

	c, err := cont(context.Background(), client)
	if err != nil {
		log.Fatal(err)
	}
	s := <-accepted
	put("response", server.take())

	// Several counters, so that their byte order shows; the long one takes
	// two frames. A text is its length's low byte, repeated.
	for _, n := range []int{1, 9, 300, 4077, 5000} {
		text := bytes.Repeat([]byte{byte(n)}, n)
		exchange(c, s, text)
		fmt.Printf("plain %d\n", n)
		put("client-wire", client.take())
		exchange(s, c, text)
		put("server-wire", server.take())
	}

	for range 300 {
		exchange(c, s, []byte("x"))
		client.take()
	}
	exchange(c, s, []byte("late"))
	put("client-late", client.take())
}

func exchange(from, to net.Conn, text []byte) {
	done := make(chan error)
	go func() {
		_, err := from.Write(text)
		done <- err
	}()

	if _, err := io.ReadFull(to, make([]byte, len(text))); err != nil {
		log.Fatal(err)
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}
