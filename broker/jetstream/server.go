package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// startPatience is how long a server may read its folder before it is ready: a
// million messages take about a second.
const startPatience = 60 * time.Second

// EmbedConfig says how a server in this process runs.
type EmbedConfig struct {
	// Dir holds the streams; it is made if it does not exist. One server at a
	// time uses it.
	Dir string
	// SyncAlways makes the server write a message through to the disk before it
	// acknowledges it. Without it a power failure may cost the messages of the
	// last two minutes, a crash of the process none.
	SyncAlways bool
	// Listen is the loopback address for other processes, such as 127.0.0.1:0;
	// empty = none.
	Listen string
	// Token that clients of Listen have to show.
	Token string
	// MaxBytes is the most that all streams may take on the disk; default: three
	// quarters of what is free.
	MaxBytes int64
}

// Validate reports everything that is wrong.
func (c *EmbedConfig) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New(`dir: "": must name a folder`))
	}
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("max_bytes: %d: must be more than 0", c.MaxBytes))
	}
	if c.Listen == "" {
		return errors.Join(errs...)
	}
	if _, _, err := c.address(); err != nil {
		errs = append(errs, fmt.Errorf("listen: %s: must be a loopback address and port such as 127.0.0.1:0: %w", c.Listen, err))
	}
	if c.Token == "" {
		errs = append(errs, errors.New(`token: "": must be set with listen`))
	}
	return errors.Join(errs...)
}

// address is Listen in parts.
func (c *EmbedConfig) address() (host string, port int, err error) {
	host, number, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", 0, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("%q is no loopback address", host)
	}
	port, err = strconv.Atoi(number)
	if err == nil && port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, err
}

// Server is a NATS server with JetStream in this process. It takes no signals
// and logs warnings and errors only, to slog.
type Server struct {
	server *server.Server
	lock   *flock.Flock
	token  string
}

// Embed starts a server and returns when it is ready.
func Embed(ctx context.Context, config EmbedConfig) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("cannot start the embedded server: %w", err)
	}
	s, err := embed(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("cannot start the embedded server in %s: %w", config.Dir, err)
	}
	return s, nil
}

func embed(ctx context.Context, config EmbedConfig) (*Server, error) {
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(config.Dir, "lock"))
	if locked, err := lock.TryLock(); err != nil || !locked {
		return nil, errors.Join(err, errors.New("another process uses the folder"))
	}
	options := &server.Options{
		ServerName: "flightlog", NoSigs: true, NoSystemAccount: true,
		DontListen: config.Listen == "",
		JetStream:  true, StoreDir: config.Dir, SyncAlways: config.SyncAlways,
		JetStreamMaxStore: config.MaxBytes,
		MaxPayload:        maxMessage,
		Authorization:     config.Token,
	}
	if config.Listen != "" {
		options.Host, options.Port, _ = config.address()
	}
	ns, err := server.NewServer(options)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	log := logger{fatal: make(chan error, 1)}
	ns.SetLoggerV2(log, false, false, false)
	go ns.Start()
	s := &Server{server: ns, lock: lock, token: config.Token}
	ready := make(chan bool, 1)
	go func() { ready <- ns.ReadyForConnections(startPatience) }()
	select {
	case ok := <-ready:
		if ok && ns.JetStreamEnabled() {
			return s, nil
		}
		err = fmt.Errorf("it is not ready after %v", startPatience)
	case err = <-log.fatal:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, s.Close())
}

// ClientURL is the address for other processes, empty without Listen.
func (s *Server) ClientURL() string {
	if addr := s.server.Addr(); addr != nil {
		return "nats://" + addr.String()
	}
	return ""
}

// Close stops the server and returns when its files are closed.
func (s *Server) Close() error {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return s.lock.Unlock()
}

// logger passes the server's warnings and errors on. The server takes Fatalf
// for its end, and it is the end of its start only.
type logger struct{ fatal chan error }

func (logger) Noticef(string, ...any) {}
func (logger) Debugf(string, ...any)  {}
func (logger) Tracef(string, ...any)  {}

func (logger) Warnf(format string, v ...any) {
	slog.Warn("nats server: " + fmt.Sprintf(format, v...))
}

func (logger) Errorf(format string, v ...any) {
	slog.Error("nats server: " + fmt.Sprintf(format, v...))
}

func (l logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, v...):
	default:
	}
}
