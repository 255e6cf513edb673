//go:build unix

// Package kafkatest runs a real Apache Kafka of one node for tests: the jars of
// Maven Central (pom.xml beside this file) on an installed Java.
package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// JarsVariable names the environment variable with the folder of jars, as
// make test-kafka fills it.
const JarsVariable = "FLIGHTLOG_KAFKA_JARS"

// startPatience is how long a node may take until it answers.
const startPatience = 90 * time.Second

// Server is a node that listens on loopback, with its data in a folder of its
// own. Not safe for concurrent use.
type Server struct {
	jars, dir string
	addr      string
	process   *exec.Cmd // nil = down
	exited    chan struct{}
}

// Run starts a node for a test, which stops it; the test is skipped where
// JarsVariable is not set.
func Run(t testing.TB) *Server {
	t.Helper()
	jars := os.Getenv(JarsVariable)
	if jars == "" {
		t.Skipf("%s is not set: make test-kafka runs this on a real Kafka", JarsVariable)
	}
	s, err := Start(jars, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start formats an empty folder and starts a node on free ports. settings are
// further lines of its server.properties.
func Start(jars, dir string, settings ...string) (*Server, error) {
	s := &Server{jars: jars, dir: dir}
	if err := s.format(settings); err != nil {
		return nil, fmt.Errorf("cannot set Kafka up in %s: %w", dir, err)
	}
	return s, s.Restart()
}

// Addr is the node's address, the same for its life.
func (s *Server) Addr() string { return s.addr }

func (s *Server) format(settings []string) error {
	broker, err := freeAddress()
	if err != nil {
		return err
	}
	controller, err := freeAddress()
	if err != nil {
		return err
	}
	s.addr = broker
	properties := append([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.bootstrap.servers=" + controller,
		"listeners=PLAINTEXT://" + broker + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + broker,
		"inter.broker.listener.name=PLAINTEXT",
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs=" + filepath.Join(s.dir, "data"),
		"auto.create.topics.enable=false",
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=4",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=4",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		"log.cleaner.backoff.ms=500",
		"log.cleaner.dedupe.buffer.size=16777216",
	}, settings...)
	if err := os.WriteFile(s.properties(), []byte(strings.Join(properties, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	id, err := s.java("kafka.tools.StorageTool", "random-uuid")
	if err != nil {
		return err
	}
	_, err = s.java("kafka.tools.StorageTool", "format", "--standalone", "-t", strings.TrimSpace(id), "-c", s.properties())
	return err
}

func (s *Server) properties() string { return filepath.Join(s.dir, "server.properties") }

// command is a Java program of Kafka's.
func (s *Server) command(args ...string) *exec.Cmd {
	c := exec.Command("java", append([]string{
		"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(s.jars, "*"),
	}, args...)...)
	c.Dir = s.dir
	c.SysProcAttr = attributes()
	return c
}

// java runs one to its end.
func (s *Server) java(args ...string) (string, error) {
	var said, complaints bytes.Buffer
	c := s.command(args...)
	c.Stdout, c.Stderr = &said, &complaints
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", args[0], err, said.String(), complaints.String())
	}
	return said.String(), nil
}

// Restart starts a node that is down on what it has stored, and waits until it
// answers. One that runs is killed before.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot start Kafka: %w", err)
	}
	defer log.Close()
	s.process, s.exited = s.command("kafka.Kafka", s.properties()), make(chan struct{})
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.process = nil
		return fmt.Errorf("cannot start Kafka: %w", err)
	}
	go func(process *exec.Cmd, exited chan struct{}) {
		_ = process.Wait()
		close(exited)
	}(s.process, s.exited)
	if err := s.ready(); err != nil {
		_ = s.Kill()
		return fmt.Errorf("cannot start Kafka: %w; its log ends with:\n%s", err, s.logTail())
	}
	return nil
}

// ready waits until the node answers.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.RetryTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		if err = client.Ping(ctx); err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it has exited")
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Server) log() string { return filepath.Join(s.dir, "kafka.log") }

func (s *Server) logTail() []byte {
	b, _ := os.ReadFile(s.log())
	return b[max(0, len(b)-4000):]
}

// Kill ends the node at once (SIGKILL). What it has not stored is gone.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop ends the node in its own way (SIGTERM).
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

func (s *Server) end(how syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	if err := s.signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		s.process = nil
		return nil
	case <-time.After(startPatience):
		return fmt.Errorf("cannot end Kafka: process %d lives on after %v", s.process.Process.Pid, how)
	}
}

// Pause stops the node's process (SIGSTOP): connections stay open, and nobody
// answers.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Continue lets a paused node go on.
func (s *Server) Continue() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(how syscall.Signal) error {
	if s.process == nil {
		return errors.New("cannot signal Kafka: it is down")
	}
	if err := s.process.Process.Signal(how); err != nil {
		return fmt.Errorf("cannot signal Kafka: %w", err)
	}
	return nil
}

// Close kills the node. Its folder stays.
func (s *Server) Close() error { return s.Kill() }

// freeAddress is one on loopback that nobody listened on a moment ago.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
