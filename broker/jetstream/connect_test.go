package jetstream_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/nats-io/nats-server/v2/server"
)

func TestAServerThatIsDownIsAnErrorToTryAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	url := "nats://" + listener.Addr().String()
	_, err = jetstream.Connect(t.Context(), jetstream.Config{URL: url})
	if !errors.Is(err, broker.ErrRetry) || !strings.Contains(err.Error(), url) {
		t.Errorf("connected with %v, want %v that names %s", err, broker.ErrRetry, url)
	}
}

func TestTheTokenOpensTheListenerAndIsNeverNamed(t *testing.T) {
	s := embed(t, jetstream.EmbedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	provision(t, jetstream.Config{URL: s.ClientURL(), TokenFile: file}, 4)
	for _, wrong := range []string{"", "another-" + token} {
		_, err := jetstream.Connect(t.Context(), jetstream.Config{URL: s.ClientURL(), Token: wrong})
		if err == nil || errors.Is(err, broker.ErrRetry) || strings.Contains(err.Error(), token) {
			t.Errorf("connected with token %q: %v", wrong, err)
		}
	}
}

func TestTLSWithClientCertificate(t *testing.T) {
	pki := newAuthority(t)
	serverPair, clientPair := pki.issue(t, "server"), pki.issue(t, "client")
	certificate, err := tls.LoadX509KeyPair(serverPair.cert, serverPair.key)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true, Authorization: token, TLS: true, TLSVerify: true,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: pki.pool,
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	go ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	url := "tls://" + ns.Addr().String()
	whole := jetstream.Config{URL: url, Token: token, CAFile: pki.file, CertFile: clientPair.cert, KeyFile: clientPair.key}
	provision(t, whole, 4)
	b := connect(t, whole)
	if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Events}, []byte("sealed")); err != nil {
		t.Error(err)
	}
	for name, part := range map[string]jetstream.Config{
		"no authority":   {URL: url, Token: token, CertFile: clientPair.cert, KeyFile: clientPair.key},
		"no certificate": {URL: url, Token: token, CAFile: pki.file},
		"no token":       {URL: url, CAFile: pki.file, CertFile: clientPair.cert, KeyFile: clientPair.key},
	} {
		if _, err := jetstream.Connect(t.Context(), part); err == nil {
			t.Errorf("connected with %s", name)
		}
	}
}

// authority issues certificates for loopback.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string
}

type pair struct{ cert, key string }

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	p := a.issue(t, "authority")
	a.file = p.cert
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate; the first one signs itself and then the others.
func (a *authority) issue(t *testing.T, name string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.cert == nil,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		a.key = key
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	p := pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{p.cert: {Type: "CERTIFICATE", Bytes: der}, p.key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestAConfigNamesEverythingThatIsWrong(t *testing.T) {
	config := jetstream.Config{
		URL: "nats://user:secret@127.0.0.1", InProcess: &jetstream.Server{},
		CredentialsFile: "/nowhere/creds", TokenFile: "/nowhere/token", CAFile: "/nowhere/ca", CertFile: "/nowhere/cert",
		Prefix: "a.b", Generation: -1, Partitions: -1, Timeout: -1,
		ReadAhead: -1, SnapshotCommits: -1, SnapshotBytes: -1, LeaseTTL: -1,
		Layout: jetstream.Layout{Replicas: 9, EventsAge: -1, RowsAge: -1, ClosedAge: -1, EventsBytes: -1},
	}
	err := config.Validate()
	if err == nil {
		t.Fatal("it is valid")
	}
	for _, key := range []string{"url", "credentials_file", "token_file", "ca_file", "cert_file", "key_file",
		"prefix: a.b", "generation: -1", "partitions: -1", "timeout: -1", "replicas: 9", "events_age", "rows_age", "closed_age", "events_bytes",
		"read_ahead", "snapshot_commits", "snapshot_bytes", "lease_ttl"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%v\ndoes not name %s", err, key)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("%v\nnames the password", err)
	}
	if err := (&jetstream.Config{}).Validate(); err == nil {
		t.Error("a config without a server is valid")
	}
	embedded := jetstream.EmbedConfig{Listen: "0.0.0.0:4222", MaxBytes: -1}
	for _, key := range []string{"dir", "listen: 0.0.0.0:4222", "token", "max_bytes: -1"} {
		if err := embedded.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v\ndoes not name %s", err, key)
		}
	}
}

func TestAFolderHasOneServer(t *testing.T) {
	dir := t.TempDir()
	first := embed(t, jetstream.EmbedConfig{Dir: dir, Listen: "127.0.0.1:0", Token: token})
	if _, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: dir}); err == nil {
		t.Error("two servers run in one folder")
	}
	taken := strings.TrimPrefix(first.ClientURL(), "nats://")
	began := time.Now()
	if _, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: t.TempDir(), Listen: taken, Token: token}); err == nil {
		t.Error("two servers listen on one address")
	} else if time.Since(began) > 10*time.Second {
		t.Errorf("it took %v to say %v", time.Since(began), err)
	}
}

func TestTheNumberOfPartitionsIsProvisionedOnce(t *testing.T) {
	config := jetstream.Config{InProcess: embed(t, jetstream.EmbedConfig{Dir: t.TempDir()})}
	b := connect(t, config)
	events := broker.Log{Topic: broker.Events}
	if _, err := b.Partitions(t.Context()); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("partitions: %v, want %v", err, broker.ErrNotProvisioned)
	}
	if _, err := b.Append(t.Context(), events, nil); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("append: %v, want %v", err, broker.ErrNotProvisioned)
	}
	if _, err := b.LastCommit(t.Context(), "sessions", 0); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("last commit: %v, want %v", err, broker.ErrNotProvisioned)
	}
	provision(t, config, 4)
	provision(t, config, 4)
	if n, err := b.Partitions(t.Context()); n != 4 || err != nil {
		t.Errorf("%d partitions (%v), want 4", n, err)
	}
	if _, err := b.Append(t.Context(), events, []byte("x")); err != nil {
		t.Error(err)
	}
	if err := jetstream.Provision(t.Context(), config, 8); err == nil || !strings.Contains(err.Error(), "4 partitions, not 8") {
		t.Errorf("provisioned again with 8: %v", err)
	}
	if err := jetstream.Provision(t.Context(), config, 0); err == nil {
		t.Error("provisioned with none")
	}
	config.Partitions = 16
	if _, err := jetstream.Connect(t.Context(), config); err == nil || !strings.Contains(err.Error(), "4 partitions, not 16") {
		t.Errorf("a caller that counts on 16 connects: %v", err)
	}
}

func TestAnotherPrefixOrGenerationIsAnotherInstallation(t *testing.T) {
	config := jetstream.Config{InProcess: embed(t, jetstream.EmbedConfig{Dir: t.TempDir()})}
	provision(t, config, 4)
	first := connect(t, config)
	rows := broker.Log{Topic: broker.Enriched}
	events := broker.Log{Topic: broker.Events}
	for _, l := range []broker.Log{rows, events} {
		if _, err := first.Append(t.Context(), l, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	next := config
	next.Generation = 2
	provision(t, next, 4)
	other := config
	other.Prefix = "other"
	provision(t, other, 8)
	for name, want := range map[string]struct {
		config       jetstream.Config
		rows, events bool
	}{"the next generation": {next, false, true}, "another prefix": {other, false, false}} {
		b := connect(t, want.config)
		for l, holds := range map[broker.Log]bool{rows: want.rows, events: want.events} {
			if end, err := b.End(t.Context(), l); err != nil || (end != 0) != holds {
				t.Errorf("%s: %s ends at %d (%v), holds something: %v", name, l.Topic, end, err, holds)
			}
		}
	}
}
