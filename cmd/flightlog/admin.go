package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/processors/engine"
)

// admin tells operators how this process does, on a loopback port:
//
//	/metrics        Prometheus
//	/healthz        200 while the process works at all
//	/readyz         200 once every partition that it holds is restored
//	/debug/pprof/   profiles
type admin struct {
	listener net.Listener // nil = nobody asks
	server   *http.Server
	engine   *engine.Metrics
	workers  engine.Status
}

func adminFlag(c *cobra.Command, address *string) {
	c.Flags().StringVar(address, "admin", "127.0.0.1:0", "loopback address for metrics, health and profiles; port 0 = any free one, empty = none")
}

// serveAdmin listens until Close.
func serveAdmin(ctx context.Context, address string) (*admin, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flightlog_build_info", Help: "1, with the version.",
			ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 }))
	a := &admin{engine: engine.NewMetrics(registry)}
	if address == "" {
		return a, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err == nil {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			err = errors.New("it is no loopback address")
		}
	}
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
		held, ready := a.workers.Partitions()
		if !a.workers.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "%d of %d partitions held are restored\n", ready, held)
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
