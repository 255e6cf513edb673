package o2test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Profile is the version whose behaviour is reproduced, where versions differ.
type Profile int

const (
	V060 Profile = iota // v0.60.5
	V093                // what the contract calls HEAD
)

// What a zero Config stands for.
const (
	DefaultRoot         = "root@example.com"
	DefaultRootPassword = "Complexpass#123"
	DefaultPasscode     = "0123456789abcdef"
	DefaultOrgToken     = "o2oi_0123456789abcdefghijklmnopqrstuv"

	defaultOrg = "default"
)

// Config says what kind of server it is. Zero values are the defaults of the
// real one.
type Config struct {
	Address string // 127.0.0.1:0; a loopback one
	Profile Profile

	AllowedUpTo     int   // hours back that rows may be (5)
	AllowedInFuture int   // hours ahead that rows may be (24)
	PayloadLimit    int64 // bytes of a body, decompressed (200 MiB)
	ColumnLimit     int   // columns of the rows of one request (1000)

	Root, RootPassword string
	Passcode           string            // of root: valid as a password for ingestion only
	OrgToken           string            // V093: valid for ingestion with any user name
	Users              map[string]string // further users and their passwords
	Orgs               []string          // besides default

	// LoseOnKill is how many rows a kill may take that were acknowledged but not
	// flushed (contract §12 row 80): the newest requests are lost, each as a
	// whole, as long as they have no more rows than this together. 0 = nothing
	// that was acknowledged is lost.
	LoseOnKill int

	Faults Faults
	// Now is the clock of the server (time.Now). It judges the times of rows,
	// says when they were stored, and ends storms.
	Now func() time.Time
	// OnIngest is told what was stored, before the request is answered. It may
	// be called by several requests at once.
	OnIngest func(stream string, rows int)
}

func (c *Config) fill() {
	orString := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	orInt := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	orString(&c.Address, "127.0.0.1:0")
	orInt(&c.AllowedUpTo, 5)
	orInt(&c.AllowedInFuture, 24)
	if c.PayloadLimit == 0 {
		c.PayloadLimit = 200 << 20
	}
	orInt(&c.ColumnLimit, 1000)
	orString(&c.Root, DefaultRoot)
	orString(&c.RootPassword, DefaultRootPassword)
	orString(&c.Passcode, DefaultPasscode)
	orString(&c.OrgToken, DefaultOrgToken)
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Server is one stand-in.
type Server struct {
	config         Config
	address        string
	tooOld, tooFar error
	faults         *faults

	mu        sync.RWMutex // held for reading while rows are stored
	life      *life        // nil = it is down
	streams   map[streamKey]*stream
	orgs      map[string]bool
	passcodes map[string]string // user -> passcode
	folders   []*folder
	serial    atomic.Uint64 // of the newest block
	ids       int64         // of the newest folder or dashboard
	requests  map[string]int

	caching sync.Mutex
	cache   map[query]*result

	opening  sync.Mutex
	database atomic.Pointer[database] // made by the first search that needs it
}

// life is the server from a start to a kill.
type life struct {
	http     *http.Server
	ended    context.CancelFunc
	dead     bool // guarded by Server.mu
	handlers sync.WaitGroup
}

// Start starts a server on a loopback port.
func Start(c Config) (*Server, error) {
	c.fill()
	if at, err := net.ResolveTCPAddr("tcp", c.Address); err != nil || !at.IP.IsLoopback() {
		return nil, fmt.Errorf("%q is no loopback address", c.Address)
	}
	s := &Server{
		config:    c,
		address:   c.Address,
		tooOld:    errTooOld(c.AllowedUpTo),
		tooFar:    errTooFar(c.AllowedInFuture),
		faults:    newFaults(c.Faults),
		streams:   map[streamKey]*stream{},
		orgs:      map[string]bool{defaultOrg: true},
		passcodes: map[string]string{c.Root: c.Passcode},
		requests:  map[string]int{},
		cache:     map[query]*result{},
	}
	for _, org := range c.Orgs {
		s.orgs[org] = true
	}
	return s, s.Restart()
}

// Restart starts a server that was killed, on the same address and with what it
// had stored. It does nothing when the server is up.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		return nil
	}
	listener, err := net.Listen("tcp", s.address)
	for wait := time.Millisecond; errors.Is(err, syscall.EADDRINUSE) && wait < time.Second; wait *= 2 {
		time.Sleep(wait) // a connection of a client may have the port for a moment
		listener, err = net.Listen("tcp", s.address)
	}
	if err != nil {
		return err
	}
	if first := listener.Addr().String(); first != s.address {
		s.address = first
	}
	ctx, ended := context.WithCancel(context.Background())
	l := &life{ended: ended}
	l.http = &http.Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(l, w, r) }),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	s.life = l
	go func() { _ = l.http.Serve(listener) }() // ends when the life does
	return nil
}

// Kill ends the server as kill -9 does: nobody listens any more, all connections
// are closed, and requests in progress get no answer; what they had not stored
// by now is not stored. It does nothing when the server is down.
func (s *Server) Kill() {
	if s.die() != nil {
		s.loseUnflushed()
	}
}

// Close ends the server for good.
func (s *Server) Close() {
	if l := s.die(); l != nil {
		l.handlers.Wait()
	}
	if d := s.database.Swap(nil); d != nil {
		_ = d.close() // it is in memory
	}
}

func (s *Server) die() *life {
	s.mu.Lock()
	l := s.life
	s.life = nil
	if l != nil {
		l.dead = true
	}
	s.mu.Unlock()
	if l != nil {
		l.ended()
		_ = l.http.Close()
	}
	return l
}

// loseUnflushed drops the newest blocks of all streams.
func (s *Server) loseUnflushed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for left := s.config.LoseOnKill; ; {
		var newest *stream
		var serial uint64
		rows := 0
		for _, st := range s.streams {
			if n := len(st.blocks); n > 0 && st.blocks[n-1].serial > serial {
				newest, serial, rows = st, st.blocks[n-1].serial, len(st.blocks[n-1].times)
			}
		}
		if left -= rows; newest == nil || left < 0 {
			return
		}
		newest.cut()
	}
}

// URL is where the server listens, also after a restart.
func (s *Server) URL() string { return "http://" + s.address }

// SetFaults replaces the faults, for requests that come from now on.
func (s *Server) SetFaults(f Faults) { s.faults.replace(f) }

// Storm refuses all ingestion requests with 503 for a while (of the server's clock).
func (s *Server) Storm(d time.Duration) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.storm = s.now().Add(d)
}

// Injected tells how often each fault has struck, by the name of its field in
// [Faults], and "Storm".
func (s *Server) Injected() map[string]int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return maps.Clone(s.faults.injected)
}

// Requests counts the requests by route, such as "POST /api/{org}/{stream}/_json".
func (s *Server) Requests() map[string]int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.requests)
}

func (s *Server) now() time.Time { return s.config.Now() }
