package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// adminServer is what the tests see of the control server. A node is named by
// its node key, ?node=nodekey:...; a switch is ?on=0 or ?on=1. Bodies and
// answers are JSON in tailcfg's forms.
//
//	GET  /nodes            all nodes: endpoints, home DERP, hostinfo, ...
//	GET  /status           {"Nodes":n,"InServeMap":n,"SetDNS":[...]}
//	POST /raw-map    node  sends the MapResponse in the body, and from then on
//	                       nothing but such messages goes to this node
//	POST /first-map        lays the body over the first MapResponse of each
//	                       new stream; an empty body ends that
//	POST /node       node  lays the body over the node and tells its peers
//	POST /ping       node  sends the PingRequest in the body; the answer to a
//	                       URL with the path /machine/pong comes by /pongs
//	GET  /pongs            what was posted there, a list of PingResponse
//	POST /c2n        node  sends the raw HTTP request in the body, answers
//	                       with what the node said
//	POST /cap-map    node  the node's own capabilities (NodeCapMap)
//	POST /app-caps         application capabilities of all to all
//	POST /routes     node  subnet routes, ["10.1.0.0/24"]
//	POST /masquerade       [{"Node":key,"Peer":key,"NodeMasqueradesAs":ip}]
//	POST /jail       node  peer, on: the peer is jailed for the node
//	POST /unsigned   node  on: peers see it as an unsigned ingress node
//	POST /dns              adds the DNS records in the body
//	POST /derp-map         replaces the DERP map for later full messages
//	POST /auth-key         key: the auth key wanted from now on
//	POST /require-auth     on: registrations get a login URL
//	POST /machine-auth     on: new machines wait for approval
//	POST /approve    node  approves the machine
//	POST /complete-auth    url: the login behind this URL was done
//	POST /expire-all       on: every node key counts as expired
//	POST /reject           {"Path":"/machine/map","Status":503,
//	                       "RetryAfter":"2","Message":"","Times":1}
//	POST /online           on: peers are reported online
//	POST /crowd            n, for: the first map of each new stream of nodes
//	                       with one of these host names (a,b) has n peers
//	                       more, that nobody is behind
//	GET  /crowd            {hostname: Unix seconds of its last such map}
//
// The switches without a lock of their own upstream (auth-key, require-auth,
// machine-auth, online, derp-map) are meant for moments when no request that
// reads them is under way.
type adminServer struct {
	s      *testcontrol.Server
	setTXT string // URL

	mu        sync.Mutex
	setDNS    []*tailcfg.SetDNSRequest
	firstMap  []byte
	rejection *rejection
	pongs     []json.RawMessage

	crowd      []*tailcfg.Node
	crowdFor   []string
	crowdTimes map[string]float64
}

type rejection struct {
	Path       string
	Status     int
	RetryAfter string
	Message    string
	Times      int // requests left to refuse; 0 for all
}

type masquerade struct {
	Node, Peer        key.NodePublic
	NodeMasqueradesAs netip.Addr
}

var errNotConnected = errors.New("node is not connected")

func newAdmin(s *testcontrol.Server, setTXT string) http.Handler {
	a := &adminServer{s: s, setTXT: setTXT}

	s.OnSetDNS = a.onSetDNS
	s.ModifyFirstMapResponse = a.modifyFirstMap
	s.MaybeRejectRequest = a.maybeReject

	mux := http.NewServeMux()

	get := func(path string, f func() any) {
		mux.HandleFunc("GET "+path,
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, f(), nil)
			})
	}

	post := func(path string, f func(*call) error) {
		mux.HandleFunc("POST "+path,
			func(w http.ResponseWriter, r *http.Request) {
				c := &call{r: r}
				reply(w, &c.answer, f(c))
			})
	}

	get("/nodes", func() any { return s.AllNodes() })
	get("/status", a.status)
	get("/pongs", a.allPongs)

	post("/raw-map", a.rawMap)
	post("/first-map", a.setFirstMap)
	post("/node", a.updateNode)
	post("/ping", a.ping)
	post("/c2n", a.c2n)
	post("/cap-map", withNode(s.SetNodeCapMap))
	post("/app-caps", withBody(s.SetGlobalAppCaps))
	post("/routes", withNode(s.SetSubnetRoutes))
	post("/masquerade", withBody(a.masquerade))
	post("/jail", a.jail)
	post("/unsigned", a.unsigned)
	post("/dns", withBody(func(r []tailcfg.DNSRecord) {
		s.AddDNSRecords(r...)
	}))
	post("/derp-map", withBody(func(m *tailcfg.DERPMap) { s.DERPMap = m }))
	post("/auth-key", func(c *call) error {
		s.RequireAuthKey = c.r.FormValue("key")
		return nil
	})
	post("/require-auth", withSwitch(func(on bool) { s.RequireAuth = on }))
	post("/machine-auth", withSwitch(func(on bool) {
		s.RequireMachineAuth = on
	}))
	post("/approve", a.approve)
	post("/complete-auth", func(c *call) error {
		if !s.CompleteAuth(c.r.FormValue("url")) {
			return errors.New("no such login")
		}
		return nil
	})
	post("/expire-all", withSwitch(s.SetExpireAllNodes))
	post("/reject", withBody(a.setReject))
	post("/online", withSwitch(func(on bool) { s.AllOnline = on }))

	get("/crowd", a.getCrowd)
	post("/crowd", a.setCrowd)

	newLock(s).addAdmin(mux)

	return mux
}

// call is one POST: its arguments, and what to answer beside "done".
type call struct {
	r      *http.Request
	answer any
}

func (c *call) node(name string) (key.NodePublic, error) {
	var k key.NodePublic

	err := k.UnmarshalText([]byte(c.r.FormValue(name)))
	if err != nil {
		return k, fmt.Errorf("?%s=: %w", name, err)
	}

	return k, nil
}

func (c *call) on() (bool, error) {
	on, err := strconv.ParseBool(c.r.FormValue("on"))
	if err != nil {
		return false, fmt.Errorf("?on=: %w", err)
	}

	return on, nil
}

func (c *call) body(v any) error {
	return json.NewDecoder(c.r.Body).Decode(v)
}

func withBody[T any](f func(T)) func(*call) error {
	return func(c *call) error {
		var v T

		if err := c.body(&v); err != nil {
			return err
		}

		f(v)
		return nil
	}
}

func withNode[T any](f func(key.NodePublic, T)) func(*call) error {
	return func(c *call) error {
		k, err := c.node("node")
		if err != nil {
			return err
		}

		return withBody(func(v T) { f(k, v) })(c)
	}
}

func withSwitch(f func(bool)) func(*call) error {
	return func(c *call) error {
		on, err := c.on()
		if err != nil {
			return err
		}

		f(on)
		return nil
	}
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")

	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = map[string]string{"error": err.Error()}
	}

	json.NewEncoder(w).Encode(v)
}

func (a *adminServer) status() any {
	a.mu.Lock()
	defer a.mu.Unlock()

	return map[string]any{
		"Nodes":      a.s.NumNodes(),
		"InServeMap": a.s.InServeMap(),
		"SetDNS":     a.setDNS,
	}
}

func (a *adminServer) rawMap(c *call) error {
	var mr tailcfg.MapResponse

	k, err := c.node("node")
	if err != nil {
		return err
	}

	if err := c.body(&mr); err != nil {
		return err
	}

	if !a.s.AddRawMapResponse(k, &mr) {
		return errNotConnected
	}

	return nil
}

func (a *adminServer) setFirstMap(c *call) error {
	b, err := io.ReadAll(c.r.Body)
	if err != nil {
		return err
	}

	if len(b) != 0 {
		if err := json.Unmarshal(b, new(tailcfg.MapResponse)); err != nil {
			return err
		}
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	a.firstMap = b

	return nil
}

func (a *adminServer) modifyFirstMap(mr *tailcfg.MapResponse,
	req *tailcfg.MapRequest) {

	a.mu.Lock()
	defer a.mu.Unlock()

	a.addCrowd(mr, req)

	if len(a.firstMap) != 0 {
		// Checked when it was set, so it fits.
		json.Unmarshal(a.firstMap, mr)
	}
}

func (a *adminServer) updateNode(c *call) error {
	k, err := c.node("node")
	if err != nil {
		return err
	}

	n := a.s.Node(k)
	if n == nil {
		return errors.New("no such node")
	}

	if err := c.body(n); err != nil {
		return err
	}

	a.s.UpdateNode(n)

	return nil
}

func (a *adminServer) ping(c *call) error {
	var pr tailcfg.PingRequest

	k, err := c.node("node")
	if err != nil {
		return err
	}

	if err := c.body(&pr); err != nil {
		return err
	}

	if !a.s.AddPingRequest(k, &pr) {
		return errNotConnected
	}

	return nil
}

func (a *adminServer) c2n(c *call) error {
	var b []byte

	k, err := c.node("node")
	if err != nil {
		return err
	}

	if b, err = io.ReadAll(c.r.Body); err != nil {
		return err
	}

	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return err
	}

	res, err := a.s.NodeRoundTripper(k).RoundTrip(
		req.WithContext(c.r.Context()))
	if err != nil {
		return err
	}
	defer res.Body.Close()

	b, err = io.ReadAll(res.Body)
	c.answer = map[string]any{"Status": res.StatusCode, "Body": string(b)}

	return err
}

func (a *adminServer) masquerade(pairs []masquerade) {
	out := make([]testcontrol.MasqueradePair, 0, len(pairs))

	for _, p := range pairs {
		out = append(out, testcontrol.MasqueradePair{
			Node:              p.Node,
			Peer:              p.Peer,
			NodeMasqueradesAs: p.NodeMasqueradesAs,
		})
	}

	a.s.SetMasqueradeAddresses(out)
}

func (a *adminServer) jail(c *call) error {
	node, err := c.node("node")
	if err != nil {
		return err
	}

	peer, err := c.node("peer")
	if err != nil {
		return err
	}

	return withSwitch(func(on bool) { a.s.SetJailed(node, peer, on) })(c)
}

func (a *adminServer) unsigned(c *call) error {
	k, err := c.node("node")
	if err != nil {
		return err
	}

	return withSwitch(func(on bool) { a.s.SetUnsignedPeerAPIOnly(k, on) })(c)
}

func (a *adminServer) approve(c *call) error {
	k, err := c.node("node")
	if err != nil {
		return err
	}

	url := a.s.BaseURL()
	if !a.s.CompleteDeviceApproval(url, url+"/admin", &k) {
		return errors.New("no such node")
	}

	return nil
}

func (a *adminServer) onSetDNS(req *tailcfg.SetDNSRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.setDNS = append(a.setDNS, req)

	if a.setTXT == "" {
		return nil
	}

	body, err := json.Marshal(map[string]string{
		"host":  req.Name + ".",
		"value": req.Value,
	})
	if err != nil {
		return err
	}

	resp, err := http.Post(a.setTXT, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", a.setTXT, resp.Status)
	}

	return nil
}

func (a *adminServer) setReject(r rejection) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.rejection = &r
	if r.Status == 0 {
		a.rejection = nil
	}
}

func (a *adminServer) allPongs() any {
	a.mu.Lock()
	defer a.mu.Unlock()

	return append([]json.RawMessage{}, a.pongs...)
}

func (a *adminServer) maybeReject(r *http.Request) (int, string, string) {
	a.mu.Lock()
	defer a.mu.Unlock()

	// testcontrol itself has no place for these.
	if r.URL.Path == "/machine/pong" {
		var pong json.RawMessage

		if json.NewDecoder(r.Body).Decode(&pong) == nil {
			a.pongs = append(a.pongs, pong)
		}

		return http.StatusOK, "", "taken"
	}

	rej := a.rejection
	if rej == nil || r.URL.Path != rej.Path {
		return 0, "", ""
	}

	if rej.Times > 0 {
		rej.Times--
		if rej.Times == 0 {
			a.rejection = nil
		}
	}

	return rej.Status, rej.RetryAfter, rej.Message
}
