package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// admin tells operators how this process does, on a loopback port:
//
//	/metrics        Prometheus
//	/healthz        200 while the process works at all
//	/readyz         200 once every partition that it holds is restored, and while no
//	                store holds rows back
//	/debug/pprof/   profiles
type admin struct {
	listener net.Listener // nil = nobody asks
	server   *http.Server

	mu      sync.Mutex
	engine  *engine.Metrics
	workers *engine.Status // nil = it processes nothing
	sinks   *delivery.Metrics
	loads   *delivery.Status // nil = it loads nothing into a store
}

func adminFlag(c *cobra.Command, address *string) {
	c.Flags().StringVar(address, "admin", "127.0.0.1:0", "loopback address for metrics, health and profiles; port 0 = any free one, empty = none")
	readyFlag(c, address)
}

// serveAdmin listens until Close.
func serveAdmin(ctx context.Context, address string) (*admin, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flightlog_build_info", Help: "1, with the version.",
			ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 }))
	a := &admin{engine: engine.NewMetrics(registry), sinks: delivery.NewMetrics(registry)}
	if address == "" {
		return a, nil
	}
	err := onLoopback(address)
	if err != nil {
		return nil, fmt.Errorf("cannot use --admin %q: %w", address, err)
	}
	var lc net.ListenConfig
	if a.listener, err = lc.Listen(ctx, "tcp", address); err != nil {
		return nil, fmt.Errorf("cannot listen for --admin: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, text := a.ready()
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, text)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("the admin port is closed", "error", err)
		}
	}()
	return a, nil
}

// onLoopback is an error unless the address is one of loopback, with a port.
func onLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("it is no loopback address")
	}
	return nil
}

// processing is the status for a worker of processors to keep up to date, and
// loading that for a sink's.
func (a *admin) processing() *engine.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers = new(engine.Status)
	return a.workers
}

func (a *admin) loading() *delivery.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.loads = new(delivery.Status)
	return a.loads
}

// ready tells whether all that this process does goes well.
func (a *admin) ready() (bool, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ready, words := a.workers != nil || a.loads != nil, []string{}
	if a.workers != nil {
		held, restored := a.workers.Partitions()
		ready = ready && a.workers.Ready()
		words = append(words, fmt.Sprintf("%d of %d partitions held are restored", restored, held))
	}
	if a.loads != nil {
		words = append(words, fmt.Sprintf("%d partitions are loaded", a.loads.Claims()))
		if err := a.loads.Stalled(); err != nil {
			ready = false
			words = append(words, fmt.Sprintf("the store takes no rows: %v", err))
		}
	}
	if len(words) == 0 {
		words = append(words, "it has not begun")
	}
	return ready, strings.Join(words, "; ")
}

// where is the address for people, empty if there is none.
func (a *admin) where() string {
	if a.listener == nil {
		return ""
	}
	return fmt.Sprintf(", http://%s/metrics", a.listener.Addr())
}

func (a *admin) Close() {
	if a.server != nil {
		_ = a.server.Close()
	}
}
