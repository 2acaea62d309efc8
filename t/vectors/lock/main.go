// Command lockvectors prints what Tailscale's own tka package makes and what
// it says of it, for t/unit/lock.c.  A line is a command, the verdict, a name
// and hexadecimal:
//
//	start     VERDICT NAME AUM HEAD     a new authority
//	advance   VERDICT NAME AUM HEAD     one update more
//	keys      NUMBER                    how many are trusted now
//	key       VOTES PUBLIC              each of them
//	node      VERDICT NAME NODE SIG PREVIOUS...    a node key's signature
//	point     VERDICT VERDICT PUBLIC MESSAGE SIGNATURE   Ed25519 by the rules
//	                                    of ed25519consensus and of crypto/ed25519
//
// The verdict is ok, no, or strict: accepted by Tailscale, refused by us.
//
// Run in this folder: GOFLAGS=-mod=mod go run . > vectors.txt
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strings"

	"filippo.io/edwards25519"
	"github.com/fxamacker/cbor/v2"
	"github.com/hdevalence/ed25519consensus"
	"go4.org/mem"
	"golang.org/x/crypto/blake2s"
	"tailscale.com/tka"
	"tailscale.com/types/key"
	"tailscale.com/types/tkatype"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// the secret key of a number; the same in every run
func secret(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32))
}

func public(n byte) []byte { return secret(n).Public().(ed25519.PublicKey) }

func lockKey(n byte, votes uint) tka.Key {
	return tka.Key{Kind: tka.Key25519, Votes: votes, Public: public(n)}
}

func node(n byte) key.NodePublic {
	return key.NodePublicFromRaw32(mem.B(bytes.Repeat([]byte{n}, 32)))
}

func verdict(err error) string {
	if err != nil {
		return "no"
	}
	return "ok"
}

var (
	storage *tka.Mem
	auth    *tka.Authority
)

func sign(a *tka.AUM, signers ...byte) {
	hash := a.SigHash()
	for _, n := range signers {
		a.Signatures = append(a.Signatures, tkatype.Signature{
			KeyID: public(n), Signature: ed25519.Sign(secret(n), hash[:])})
	}
}

func printKeys() {
	fmt.Printf("keys %d\n", len(auth.Keys()))
	for _, k := range auth.Keys() {
		fmt.Printf("key %d %x\n", k.Votes, k.Public)
	}
}

// start decodes the bytes as a node does and starts an authority from them.
func start(name string, b []byte, strict bool) {
	var a tka.AUM
	var to *tka.Authority

	s := tka.ChonkMem()
	err := a.Unserialize(b)
	if err == nil {
		to, err = tka.Bootstrap(s, a)
	}
	v, head := verdict(err), "-"
	if err == nil && strict {
		v = "strict"
	} else if err == nil {
		storage, auth = s, to
		h := auth.Head()
		head = hex.EncodeToString(h[:])
	}
	fmt.Printf("start %s %s %x %s\n", v, name, b, head)
	if v == "ok" {
		printKeys()
	}
}

func advance(name string, b []byte, strict bool) {
	var a tka.AUM
	var next tka.Authority

	err := a.Unserialize(b)
	if err == nil {
		// without a commit: the verdict on something of which we are
		// stricter may not change the chain
		if strict {
			next, err = auth.InformIdempotent(tka.ChonkMem(), []tka.AUM{a})
		} else {
			next, err = auth.InformIdempotent(storage, []tka.AUM{a})
		}
	}
	v, head := verdict(err), "-"
	if err == nil && strict {
		v = "strict"
	} else if err == nil {
		auth = &next
		h := auth.Head()
		head = hex.EncodeToString(h[:])
	}
	fmt.Printf("advance %s %s %x %s\n", v, name, b, head)
	if v == "ok" {
		printKeys()
	}
}

// update makes an update that follows the head, signed.
func update(a tka.AUM, signers ...byte) []byte {
	h := auth.Head()
	a.PrevAUMHash = h[:]
	sign(&a, signers...)
	return a.Serialize()
}

func checkNode(name string, n byte, sig []byte, strict bool) {
	details, err := auth.NodeKeyAuthorizedWithDetails(node(n), sig)
	v := verdict(err)
	if err == nil && strict {
		v = "strict"
	}
	fmt.Printf("node %s %s %x %x", v, name, bytes.Repeat([]byte{n}, 32), sig)
	if v == "ok" && details != nil {
		for _, k := range details.PrevNodeKeys {
			raw := k.Raw32()
			fmt.Printf(" %x", raw[:])
		}
	}
	fmt.Println()
}

func nodeBytes(n byte) []byte { return must(node(n).MarshalBinary()) }

func sealed(s tka.NodeKeySignature, by byte) tka.NodeKeySignature {
	hash := s.SigHash()
	s.Signature = ed25519.Sign(secret(by), hash[:])
	return s
}

func direct(n, by, wrapping byte) tka.NodeKeySignature {
	s := tka.NodeKeySignature{SigKind: tka.SigDirect, Pubkey: nodeBytes(n), KeyID: public(by)}
	if wrapping != 0 {
		s.WrappingPubkey = public(wrapping)
	}
	return sealed(s, by)
}

func credential(by, wrapping byte) tka.NodeKeySignature {
	return sealed(tka.NodeKeySignature{SigKind: tka.SigCredential, KeyID: public(by),
		WrappingPubkey: public(wrapping)}, by)
}

func rotation(n byte, nested tka.NodeKeySignature, by byte) tka.NodeKeySignature {
	return sealed(tka.NodeKeySignature{SigKind: tka.SigRotation, Pubkey: nodeBytes(n),
		Nested: &nested}, by)
}

// raw is CBOR of what tka's own types cannot say, in the same mode.
func raw(v any) []byte {
	return must(must(cbor.CTAP2EncOptions().EncMode()).Marshal(v))
}

func authority() {
	d1, d2 := bytes.Repeat([]byte{0xd1}, 32), bytes.Repeat([]byte{0xd2}, 32)
	state := func() *tka.State {
		k3 := lockKey(3, 3)
		k3.Meta = map[string]string{"name": "third", "z": "last", "été": "ü€𝄞"}
		return &tka.State{
			DisablementValues: [][]byte{d1, d2},
			Keys:              []tka.Key{lockKey(1, 1), lockKey(2, 4096), k3},
			StateID1:          0x0102030405060708, StateID2: 70000,
		}
	}
	genesis := func(change func(*tka.AUM), signers ...byte) []byte {
		a := tka.AUM{MessageKind: tka.AUMCheckpoint, State: state()}
		if change != nil {
			change(&a)
		}
		sign(&a, signers...)
		return a.Serialize()
	}

	refused := []struct {
		name   string
		change func(*tka.AUM)
	}{
		{"no-disablement", func(a *tka.AUM) { a.State.DisablementValues = nil }},
		{"empty-disablement", func(a *tka.AUM) { a.State.DisablementValues = [][]byte{} }},
		{"short-disablement", func(a *tka.AUM) { a.State.DisablementValues[0] = d1[:31] }},
		{"same-disablement", func(a *tka.AUM) { a.State.DisablementValues[1] = d1 }},
		{"no-keys", func(a *tka.AUM) { a.State.Keys = nil }},
		{"no-state", func(a *tka.AUM) { a.State = nil }},
		{"same-key", func(a *tka.AUM) { a.State.Keys[1] = a.State.Keys[0] }},
		{"no-votes", func(a *tka.AUM) { a.State.Keys[1].Votes = 0 }},
		{"many-votes", func(a *tka.AUM) { a.State.Keys[1].Votes = 4097 }},
		{"key-kind", func(a *tka.AUM) { a.State.Keys[1].Kind = 2 }},
		{"much-meta", func(a *tka.AUM) {
			a.State.Keys[1].Meta = map[string]string{"a": strings.Repeat("x", 512)}
		}},
		{"last-hash", func(a *tka.AUM) { a.State.LastAUMHash = &tka.AUMHash{1} }},
		{"checkpoint-and-key", func(a *tka.AUM) { k := lockKey(4, 1); a.Key = &k }},
		{"checkpoint-and-id", func(a *tka.AUM) { a.KeyID = public(4) }},
		{"checkpoint-and-votes", func(a *tka.AUM) { n := uint(4); a.Votes = &n }},
		{"empty-parent", func(a *tka.AUM) { a.PrevAUMHash = []byte{} }},
		{"no-op", func(a *tka.AUM) { a.MessageKind = tka.AUMNoOp }},
		{"other-kind", func(a *tka.AUM) { a.MessageKind = 77 }},
		{"too-many-keys", func(a *tka.AUM) {
			for i := len(a.State.Keys); i < 513; i++ {
				k := tka.Key{Kind: tka.Key25519, Votes: 1, Public: make([]byte, 32)}
				k.Public[0], k.Public[1] = byte(i), byte(i>>8)
				a.State.Keys = append(a.State.Keys, k)
			}
		}},
		{"too-many-disablements", func(a *tka.AUM) {
			for i := 0; i < 31; i++ {
				a.State.DisablementValues = append(a.State.DisablementValues,
					bytes.Repeat([]byte{byte(i)}, 32))
			}
		}},
	}
	for _, r := range refused {
		start(r.name, genesis(r.change, 1), false)
	}
	start("unsigned", genesis(nil), false)
	start("stranger", genesis(nil, 9), false)
	start("one-stranger", genesis(nil, 1, 9), false)
	start("empty", nil, false)
	start("null", []byte{0xf6}, false)

	good := genesis(nil, 1)
	start("damaged", append(append([]byte{}, good[:len(good)-1]...), good[len(good)-1]^0xff), false)
	start("trailing", append(append([]byte{}, good...), 0), false)
	start("short", good[:len(good)-1], false)

	// the forms that a decoder may take and a canonical encoder never makes
	long := append([]byte{good[0], 0x18, 0x01}, good[2:]...)
	start("long-integer", long, true)
	start("indefinite", append(append([]byte{0xbf}, good[1:]...), 0xff), false)
	start("tag", append([]byte{0xd9, 0xd9, 0xf7}, good...), false)
	start("long-map", append([]byte{0xb8, good[0] & 0x1f}, good[1:]...), true)
	unknown := append([]byte{good[0] + 1}, good[1:]...)
	start("unknown-field", append(unknown, 0x18, 0x63, 0x00), true)
	start("double-field", append(append([]byte{}, unknown...), 0x17, 0x80), false)
	start("short-key", genesis(func(a *tka.AUM) { a.State.Keys[1].Public = public(2)[:31] }, 1), true)

	start("most-meta", genesis(func(a *tka.AUM) {
		a.State.Keys[1].Meta = map[string]string{"a": strings.Repeat("x", 511)}
	}, 1), false)
	start("most-keys", genesis(func(a *tka.AUM) {
		for i := len(a.State.Keys); i < 512; i++ {
			k := tka.Key{Kind: tka.Key25519, Votes: 1, Public: make([]byte, 32)}
			k.Public[0], k.Public[1] = byte(i), byte(i>>8)
			a.State.Keys = append(a.State.Keys, k)
		}
	}, 1), false)
	start("no-state-id", genesis(func(a *tka.AUM) { a.State.StateID1, a.State.StateID2 = 0, 0 }, 1), false)
	start("later-checkpoint", genesis(func(a *tka.AUM) { a.PrevAUMHash = bytes.Repeat([]byte{7}, 32) }, 2), false)
	start("two-signers", genesis(nil, 3, 1), false)
	start("genesis", good, false)

	k4, k5 := lockKey(4, 2), lockKey(5, 5)
	k5.Meta = map[string]string{"purpose": "a key that comes and goes"}
	votes := func(n uint) *uint { return &n }
	add := func(k tka.Key) tka.AUM { return tka.AUM{MessageKind: tka.AUMAddKey, Key: &k} }
	remove := func(n byte) tka.AUM {
		return tka.AUM{MessageKind: tka.AUMRemoveKey, KeyID: public(n)}
	}

	advance("genesis-again", good, true)
	advance("add-unsigned", update(add(k4)), false)
	advance("add-by-stranger", update(add(k4), 9), false)
	advance("add-by-itself", update(add(k4), 4), false)
	advance("add-by-one-stranger", update(add(k4), 1, 9), false)
	orphan := add(k4)
	sign(&orphan, 1)
	advance("add-without-parent", orphan.Serialize(), false)
	orphan = add(k4)
	orphan.PrevAUMHash = bytes.Repeat([]byte{9}, 32)
	sign(&orphan, 1)
	advance("add-to-another", orphan.Serialize(), false)
	advance("add-present", update(add(lockKey(1, 7)), 1), false)
	advance("add-no-votes", update(add(lockKey(4, 0)), 1), false)
	advance("add-nothing", update(tka.AUM{MessageKind: tka.AUMAddKey}, 1), false)
	advance("add-and-id", update(tka.AUM{MessageKind: tka.AUMAddKey, Key: &k4, KeyID: public(4)}, 1), false)
	advance("add-and-votes", update(tka.AUM{MessageKind: tka.AUMAddKey, Key: &k4, Votes: votes(1)}, 1), false)
	first := update(add(k4), 1)
	advance("add", first, false)
	advance("add-replayed", first, true)
	advance("add-with-meta", update(add(k5), 4, 2), false)
	advance("signed-twice-by-one", update(tka.AUM{MessageKind: tka.AUMNoOp}, 4, 4), false)
	advance("update-votes", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5), Votes: votes(6)}, 1), false)
	advance("update-meta", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5),
		Meta: map[string]string{"a": "b"}}, 1), false)
	advance("update-both", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5), Votes: votes(4096),
		Meta: map[string]string{"a": "b", "bb": "", "": "c"}}, 1), false)
	advance("update-to-nothing", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5)}, 1), false)
	advance("update-no-votes", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5), Votes: votes(0)}, 1), false)
	advance("update-many-votes", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5), Votes: votes(4097)}, 1), false)
	advance("update-much-meta", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5),
		Meta: map[string]string{"a": strings.Repeat("x", 512)}}, 1), false)
	advance("update-stranger", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(9), Votes: votes(1)}, 1), false)
	advance("update-and-key", update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5), Votes: votes(1), Key: &k4}, 1), false)
	advance("remove-stranger", update(remove(9), 1), false)
	advance("remove-nothing", update(tka.AUM{MessageKind: tka.AUMRemoveKey}, 1), false)
	advance("remove-and-votes", update(tka.AUM{MessageKind: tka.AUMRemoveKey, KeyID: public(5), Votes: votes(1)}, 1), false)
	advance("future-kind", update(tka.AUM{MessageKind: 200, KeyID: public(5), Votes: votes(1)}, 1), false)
	advance("future-kind-unsigned", update(tka.AUM{MessageKind: 200}), false)
	advance("kind-too-large", raw(map[int]any{1: 256, 2: bytes.Repeat([]byte{1}, 32)}), false)
	advance("bad-utf8", bytes.Replace(update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5),
		Meta: map[string]string{"a": "éé"}}, 1), []byte("é"), []byte{0xc3, 0x28}, 1), false)

	ordered := update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5),
		Meta: map[string]string{"a": "b", "c": "d"}}, 1)
	ab, cd := []byte("\x61a\x61b"), []byte("\x61c\x61d")
	pair := func(a, b []byte) []byte { return append(append([]byte{}, a...), b...) }
	advance("meta-order", bytes.Replace(ordered, pair(ab, cd), pair(cd, ab), 1), true)
	advance("meta-twice", bytes.Replace(ordered, pair(ab, cd), pair(ab, ab), 1), false)

	// signed as it is; what follows the order would have another hash
	loose := bytes.Replace(update(tka.AUM{MessageKind: tka.AUMUpdateKey, KeyID: public(5),
		Meta: map[string]string{"a": "b", "c": "d"}}), pair(ab, cd), pair(cd, ab), 1)
	hash := blake2s.Sum256(loose)
	loose[0]++
	loose = append(append(loose, 0x17), raw([]tkatype.Signature{{KeyID: public(1),
		Signature: ed25519.Sign(secret(1), hash[:])}})...)
	advance("meta-order-signed", loose, false)

	nodes()

	advance("remove", update(remove(2), 1), false)
	advance("removed-signs", update(remove(1), 2), false)
	checkNode("by-removed", 0x20, must1(direct(0x20, 2, 0)), false)
	advance("remove-itself", update(remove(4), 4), false)

	other := state()
	other.Keys = []tka.Key{lockKey(6, 1)}
	advance("checkpoint-by-its-own", update(tka.AUM{MessageKind: tka.AUMCheckpoint, State: other}, 6), false)
	wrong := state()
	wrong.StateID2++
	advance("checkpoint-of-another", update(tka.AUM{MessageKind: tka.AUMCheckpoint, State: wrong}, 1), false)
	advance("checkpoint", update(tka.AUM{MessageKind: tka.AUMCheckpoint, State: other}, 1), false)
	advance("remove-last", update(remove(6), 6), false)
	advance("add-after-checkpoint", update(add(lockKey(1, 1)), 6), false)
	advance("remove-first", update(remove(6), 6), false)
	checkNode("last", 0x21, must1(direct(0x21, 1, 0)), false)
	checkNode("by-first", 0x21, must1(direct(0x21, 6, 0)), false)
}

func must1(s tka.NodeKeySignature) []byte { return s.Serialize() }

func nodes() {
	n := func(name string, of byte, s tka.NodeKeySignature) {
		checkNode(name, of, s.Serialize(), false)
	}
	n("direct", 0x10, direct(0x10, 1, 0))
	n("direct-wrapping", 0x10, direct(0x10, 4, 0x30))
	n("direct-of-another", 0x11, direct(0x10, 1, 0))
	n("direct-by-stranger", 0x10, direct(0x10, 9, 0))
	n("direct-by-another", 0x10, sealed(tka.NodeKeySignature{SigKind: tka.SigDirect,
		Pubkey: nodeBytes(0x10), KeyID: public(1)}, 4))
	n("direct-without-key", 0x10, sealed(tka.NodeKeySignature{SigKind: tka.SigDirect,
		Pubkey: nodeBytes(0x10)}, 1))
	n("direct-without-node", 0x10, sealed(tka.NodeKeySignature{SigKind: tka.SigDirect,
		KeyID: public(1)}, 1))
	n("direct-unsigned", 0x10, tka.NodeKeySignature{SigKind: tka.SigDirect,
		Pubkey: nodeBytes(0x10), KeyID: public(1)})
	inner := direct(0x12, 1, 0)
	n("direct-nests", 0x10, sealed(tka.NodeKeySignature{SigKind: tka.SigDirect,
		Pubkey: nodeBytes(0x10), KeyID: public(1), Nested: &inner}, 1))
	n("kind-0", 0x10, sealed(tka.NodeKeySignature{Pubkey: nodeBytes(0x10), KeyID: public(1)}, 1))
	n("kind-4", 0x10, sealed(tka.NodeKeySignature{SigKind: 4, Pubkey: nodeBytes(0x10), KeyID: public(1)}, 1))
	n("credential", 0x10, credential(1, 0x30))

	n("rotation", 0x11, rotation(0x11, direct(0x10, 1, 0x30), 0x30))
	n("rotation-by-another", 0x11, rotation(0x11, direct(0x10, 1, 0x30), 0x31))
	n("rotation-of-another", 0x10, rotation(0x11, direct(0x10, 1, 0x30), 0x30))
	n("rotation-not-wrapped", 0x11, rotation(0x11, direct(0x10, 1, 0), 1))
	n("rotation-of-stranger", 0x11, rotation(0x11, direct(0x10, 9, 0x30), 0x30))
	n("rotation-of-nothing", 0x11, sealed(tka.NodeKeySignature{SigKind: tka.SigRotation,
		Pubkey: nodeBytes(0x11)}, 1))
	n("rotation-of-credential", 0x11, rotation(0x11, credential(1, 0x30), 0x30))
	n("rotation-of-credential-by-another", 0x11, rotation(0x11, credential(1, 0x30), 1))
	n("rotation-of-credential-without-key", 0x11, rotation(0x11,
		sealed(tka.NodeKeySignature{SigKind: tka.SigCredential, KeyID: public(1)}, 1), 1))
	forged := direct(0x10, 1, 0x30)
	forged.Signature[5] ^= 1
	n("rotation-of-forged", 0x11, rotation(0x11, forged, 0x30))
	n("rotation-twice", 0x13, rotation(0x13, rotation(0x11, direct(0x10, 1, 0x30), 0x30), 0x30))
	handed := tka.NodeKeySignature{SigKind: tka.SigRotation, Pubkey: nodeBytes(0x11),
		WrappingPubkey: public(0x31)}
	base := direct(0x10, 1, 0x30)
	handed.Nested = &base
	handed = sealed(handed, 0x30)
	n("rotation-hands-on", 0x13, rotation(0x13, handed, 0x31))
	n("rotation-hands-on-not", 0x13, rotation(0x13, handed, 0x30))
	odd := tka.NodeKeySignature{SigKind: tka.SigCredential, KeyID: public(1),
		WrappingPubkey: public(0x30), Pubkey: []byte("odd")}
	n("credential-with-odd-node", 0x11, rotation(0x11, sealed(odd, 1), 0x30))
	odd.Pubkey = nodeBytes(0x17)
	n("credential-with-node", 0x11, rotation(0x11, sealed(odd, 1), 0x30))

	deep := direct(0x40, 1, 0x30)
	for i := byte(1); i < 17; i++ {
		if i == 15 || i == 16 {
			n(fmt.Sprintf("rotation-%d-deep", i), 0x40+i-1, deep)
		}
		deep = rotation(0x40+i, deep, 0x30)
	}
	n("rotation-17-deep", 0x50, deep)

	s := must1(direct(0x10, 1, 0))
	checkNode("trailing", 0x10, append(append([]byte{}, s...), 0xf6), false)
	checkNode("nothing", 0x10, nil, false)
	checkNode("not-a-map", 0x10, []byte{0x80}, false)
	checkNode("long-kind", 0x10, append([]byte{s[0], 1, 0x18, 1}, s[3:]...), true)
	checkNode("unknown-field", 0x10, append(append([]byte{s[0] + 1}, s[1:]...), 7, 0), true)
	checkNode("empty-field", 0x10, append(append([]byte{s[0] + 1}, s[1:]...), 6, 0x40), true)
	checkNode("double-field", 0x10, append(append([]byte{s[0] + 1}, s[1:]...), 4, 0x40), false)
}

func points() {
	line := func(pub, msg, sig []byte) {
		fmt.Printf("point %v %v %x %x %x\n", word(ed25519consensus.Verify(pub, msg, sig)),
			word(ed25519.Verify(pub, msg, sig)), pub, msg, sig)
	}
	msg := bytes.Repeat([]byte{0x5a}, 32)

	// small points in every encoding, ZIP 215's own test
	gen := must(new(edwards25519.Point).SetBytes(must(hex.DecodeString(
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))))
	var small [][]byte
	p := edwards25519.NewIdentityPoint()
	for range 8 {
		small = append(small, p.Bytes())
		p = new(edwards25519.Point).Add(p, gen)
	}
	tail := strings.Repeat("ff", 30)
	zeros := strings.Repeat("00", 30)
	for _, s := range []string{"ed" + tail + "7f", "ed" + tail + "ff", "ee" + tail + "7f",
		"ee" + tail + "ff", "01" + zeros + "80", "ec" + tail + "ff"} {
		small = append(small, must(hex.DecodeString(s)))
	}
	for _, a := range small {
		for _, r := range small {
			line(a, msg, append(append([]byte{}, r...), make([]byte, 32)...))
		}
	}

	// a torsion component in R, in A, in both
	wide := func(s string) *edwards25519.Scalar {
		h := sha512.Sum512([]byte(s))
		return must(edwards25519.NewScalar().SetUniformBytes(h[:]))
	}
	a, r := wide("a"), wide("r")
	base := func(s *edwards25519.Scalar) *edwards25519.Point {
		return new(edwards25519.Point).ScalarBaseMult(s)
	}
	for i := range 4 {
		A, R := base(a), base(r)
		if i&1 != 0 {
			A.Add(A, gen)
		}
		if i&2 != 0 {
			R.Add(R, gen)
		}
		pub, rb := A.Bytes(), R.Bytes()
		h := sha512.Sum512(append(append(append([]byte{}, rb...), pub...), msg...))
		k := must(edwards25519.NewScalar().SetUniformBytes(h[:]))
		s := edwards25519.NewScalar().MultiplyAdd(k, a, r)
		sig := append(append([]byte{}, rb...), s.Bytes()...)
		line(pub, msg, sig)
		bad := append([]byte{}, sig...)
		bad[33] ^= 1
		line(pub, msg, bad)
		line(pub, append([]byte{1}, msg[1:]...), sig)

		// S + L
		l := must(hex.DecodeString("edd3f55c1a631258d69cf7a2def9de14" +
			"00000000000000000000000000000010"))
		carry := 0
		for j := range l {
			carry += int(sig[32+j]) + int(l[j])
			bad[32+j] = byte(carry)
			carry >>= 8
		}
		line(pub, msg, bad)
	}
	// not on the curve
	off := make([]byte, 32)
	off[0] = 2
	line(off, msg, make([]byte, 64))
	line(public(1), msg, append(append([]byte{}, off...), make([]byte, 32)...))
	for i := byte(1); i < 9; i++ {
		line(public(i), msg, ed25519.Sign(secret(i), msg))
	}
}

func word(v bool) string {
	if v {
		return "ok"
	}
	return "no"
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "chain" {
		chains()
		resigns()
		return
	}

	authority()
	points()
}
