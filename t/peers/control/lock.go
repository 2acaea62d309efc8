package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"tailscale.com/tailcfg"
	"tailscale.com/tka"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/tstest/tkatest"
	"tailscale.com/types/key"
	"tailscale.com/types/tkatype"
	"tailscale.com/util/set"
)

// lockServer is the part of tailnet lock that testcontrol lacks: it has
// neither sync/send nor disable nor the rotation of signed nodes, and takes
// requests of its own capability version only. The judge is tka itself.
//
// testcontrol's fields are not exported; what is needed of them is reached by
// reflection, so that a change of theirs is a panic at the start.
type lockServer struct {
	s       *testcontrol.Server
	machine http.Handler // its own of /machine/

	mu     *sync.Mutex // testcontrol's
	store  *tka.CompactableChonk
	nodes  *map[key.NodePublic]*tailcfg.Node
	muted  *set.Set[key.NodePublic]
	queued *map[key.NodePublic][]any
	nlKeys map[key.NodePublic]key.NLPublic

	secret []byte // that ended it
	asks   bool   // a new node key's signature is asked for, not expected
}

func field[T any](s *testcontrol.Server, name string) *T {
	f := reflect.ValueOf(s).Elem().FieldByName(name)
	if want := reflect.TypeFor[T](); f.Type() != want &&
		f.Type().Kind() != want.Kind() {

		panic(fmt.Sprintf("testcontrol.Server.%s is a %v", name, f.Type()))
	}

	return (*T)(unsafe.Pointer(f.UnsafeAddr()))
}

func newLock(s *testcontrol.Server) *lockServer {
	// The first request makes the mux.
	s.ServeHTTP(httptest.NewRecorder(),
		httptest.NewRequest("GET", "/generate_204", nil))

	mux := *field[*http.ServeMux](s, "mux")
	machine, _ := mux.Handler(httptest.NewRequest("POST",
		"/machine/register", nil))

	l := &lockServer{
		s:       s,
		machine: machine,
		mu:      field[sync.Mutex](s, "mu"),
		store:   field[tka.CompactableChonk](s, "tkaStorage"),
		nodes:   field[map[key.NodePublic]*tailcfg.Node](s, "nodes"),
		muted:   field[set.Set[key.NodePublic]](s, "suppressAutoMapResponses"),
		queued:  field[map[key.NodePublic][]any](s, "msgToSend"),
		nlKeys:  map[key.NodePublic]key.NLPublic{},
	}

	mux.HandleFunc("/machine/register", l.register)
	mux.HandleFunc("/machine/map", l.mapRequest)
	mux.HandleFunc("/machine/tka/init/begin", answer(l.initBegin))
	mux.HandleFunc("/machine/tka/init/finish", answer(l.initFinish))
	mux.HandleFunc("/machine/tka/bootstrap", answer(l.bootstrap))
	mux.HandleFunc("/machine/tka/sync/send", l.syncSend)
	mux.HandleFunc("/machine/tka/sign", answer(l.sign))
	mux.HandleFunc("/machine/tka/disable", answer(l.disable))

	return l
}

// answer decodes a request and encodes what the function makes of it.
func answer[Req, Res any](f func(*Req) (*Res, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req := new(Req)

		err := json.NewDecoder(r.Body).Decode(req)
		if err == nil {
			var res *Res

			if res, err = f(req); err == nil {
				json.NewEncoder(w).Encode(res)
				return
			}
		}

		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (l *lockServer) authority() (*tka.Authority, error) {
	if *l.store == nil {
		return nil, errors.New("tailnet lock is off")
	}

	return tka.Open(*l.store)
}

// tell gives everybody a new map.
func (l *lockServer) tell() {
	for _, n := range l.s.AllNodes() {
		l.s.UpdateNode(n)
	}
}

func (l *lockServer) initBegin(
	req *tailcfg.TKAInitBeginRequest) (*tailcfg.TKAInitBeginResponse, error) {

	var genesis tka.AUM

	if err := genesis.Unserialize(req.GenesisAUM); err != nil {
		return nil, err
	}

	store := tka.ChonkMem()
	if _, err := tka.Bootstrap(store, genesis); err != nil {
		return nil, err
	}

	res := new(tailcfg.TKAInitBeginResponse)
	for _, n := range l.s.AllNodes() {
		res.NeedSignatures = append(res.NeedSignatures, tailcfg.TKASignInfo{
			NodeID:         n.ID,
			NodePublic:     n.Key,
			RotationPubkey: l.nlKeys[n.Key].Verifier(),
		})
	}

	l.mu.Lock()
	*l.store = store
	l.mu.Unlock()

	return res, nil
}

func (l *lockServer) initFinish(
	req *tailcfg.TKAInitFinishRequest) (*tailcfg.TKAInitFinishResponse, error) {

	for _, n := range l.s.AllNodes() {
		if sig, ok := req.Signatures[n.ID]; ok {
			n.KeySignature = sig
			l.s.UpdateNode(n)
		}
	}

	return new(tailcfg.TKAInitFinishResponse), nil
}

func (l *lockServer) bootstrap(
	req *tailcfg.TKABootstrapRequest) (*tailcfg.TKABootstrapResponse, error) {

	if l.secret != nil {
		return &tailcfg.TKABootstrapResponse{DisablementSecret: l.secret}, nil
	}

	if *l.store == nil {
		return new(tailcfg.TKABootstrapResponse), nil
	}

	all, err := (*l.store).AllAUMs()
	if err != nil {
		return nil, err
	}

	for _, h := range all {
		a, err := (*l.store).AUM(h)
		if err != nil {
			return nil, err
		}

		if _, hasParent := a.Parent(); !hasParent {
			return &tailcfg.TKABootstrapResponse{
				GenesisAUM: a.Serialize(),
			}, nil
		}
	}

	return nil, errors.New("no genesis")
}

func (l *lockServer) syncSend(w http.ResponseWriter, r *http.Request) {
	a, err := l.authority()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	before := a.Head()

	if tkatest.HandleTKASyncSend(w, r, a, *l.store) == nil &&
		a.Head() != before {

		l.tell()
	}
}

func (l *lockServer) sign(
	req *tailcfg.TKASubmitSignatureRequest) (
	*tailcfg.TKASubmitSignatureResponse, error) {

	var sig tka.NodeKeySignature
	var k key.NodePublic

	if err := sig.Unserialize(req.Signature); err != nil {
		return nil, err
	}

	if err := k.UnmarshalBinary(sig.Pubkey); err != nil {
		return nil, err
	}

	return new(tailcfg.TKASubmitSignatureResponse), l.put(k, req.Signature)
}

func (l *lockServer) put(k key.NodePublic, sig tkatype.MarshaledSignature) error {
	a, err := l.authority()
	if err != nil {
		return err
	}

	if err := a.NodeKeyAuthorized(k, sig); err != nil {
		return err
	}

	n := l.s.Node(k)
	if n == nil {
		return errors.New("no such node")
	}

	n.KeySignature = sig
	l.s.UpdateNode(n)

	return nil
}

func (l *lockServer) disable(
	req *tailcfg.TKADisableRequest) (*tailcfg.TKADisableResponse, error) {

	a, err := l.authority()
	if err != nil {
		return nil, err
	}

	if !a.ValidDisablement(req.DisablementSecret) {
		return nil, errors.New("not the secret")
	}

	l.mu.Lock()
	*l.store = nil
	l.secret = req.DisablementSecret
	l.mu.Unlock()

	l.sayOff()

	return new(tailcfg.TKADisableResponse), nil
}

// sayOff tells all nodes that there is no tailnet lock.
func (l *lockServer) sayOff() {
	for _, n := range l.s.AllNodes() {
		l.s.AddRawMapResponse(n.Key, &tailcfg.MapResponse{
			TKAInfo: &tailcfg.TKAInfo{Disabled: true},
		})
	}
}

// register hands the request on, after it has remembered the lock key; when
// the lock is on, a new node key takes its node's place with its signature.
func (l *lockServer) register(w http.ResponseWriter, r *http.Request) {
	var req tailcfg.RegisterRequest

	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(b, &req)
	}

	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	l.mu.Lock()
	l.nlKeys[req.NodeKey] = req.NLKey
	l.mu.Unlock()

	locked := *l.store != nil
	old := l.s.Node(req.OldNodeKey)

	if locked && l.asks && old != nil && len(old.KeySignature) != 0 {
		// What came on its own accord is not looked at: the node has to
		// answer the question.
		l.asks = false
		json.NewEncoder(w).Encode(tailcfg.RegisterResponse{
			MachineAuthorized: true,
			NodeKeySignature:  old.KeySignature,
		})
		return
	}

	r.Body = io.NopCloser(bytes.NewReader(b))
	r.ContentLength = int64(len(b))
	l.machine.ServeHTTP(w, r)

	if old != nil && l.s.Node(req.NodeKey) != nil {
		n := l.s.Node(req.NodeKey)
		n.KeySignature = nil
		l.s.UpdateNode(n)

		l.mu.Lock()
		delete(*l.nodes, req.OldNodeKey)
		l.mu.Unlock()
	}

	if locked && len(req.NodeKeySignature) != 0 {
		l.put(req.NodeKey, req.NodeKeySignature)
	}
}

// mapRequest lets a new stream begin with a map also when the tests had sent
// the node one of their own: also before what no stream of it has taken, for a
// client ends a stream that begins with a change, and would meet the next.
func (l *lockServer) mapRequest(w http.ResponseWriter, r *http.Request) {
	var req tailcfg.MapRequest

	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(b, &req)
	}

	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	if req.Stream {
		l.mu.Lock()
		delete(*l.muted, req.NodeKey)
		if q := (*l.queued)[req.NodeKey]; len(q) != 0 {
			(*l.queued)[req.NodeKey] = slices.DeleteFunc(q, isMap)
		}
		l.mu.Unlock()
	}

	r.Body = io.NopCloser(bytes.NewReader(b))
	r.ContentLength = int64(len(b))
	l.machine.ServeHTTP(w, r)
}

func isMap(message any) bool {
	_, ok := message.(*tailcfg.MapResponse)
	return ok
}

// addAdmin adds to the admin port:
//
//	GET  /lock             {"Head":"...","Keys":n}
//	POST /lock-ask         the next new node key's signature is asked for
//	POST /lock-off         says that it is off, and has no secret
func (l *lockServer) addAdmin(mux *http.ServeMux) {
	mux.HandleFunc("GET /lock", func(w http.ResponseWriter, r *http.Request) {
		a, err := l.authority()
		if err != nil {
			reply(w, nil, err)
			return
		}

		reply(w, map[string]any{
			"Head": a.Head().String(),
			"Keys": len(a.Keys()),
		}, nil)
	})

	mux.HandleFunc("POST /lock-ask",
		func(w http.ResponseWriter, r *http.Request) {
			l.asks = true
			reply(w, nil, nil)
		})

	mux.HandleFunc("POST /lock-off",
		func(w http.ResponseWriter, r *http.Request) {
			l.sayOff()
			reply(w, nil, nil)
		})
}
