package kafka_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/twmb/franz-go/pkg/kfake"
)

// files writes a certificate for loopback and its key as PEM.
func files(t *testing.T) (certFile, keyFile string, certificate tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loopback"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
	certificate, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, content := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, certificate
}

func TestConnectionsAreEncryptedAndBothSidesKnowEachOther(t *testing.T) {
	certFile, keyFile, certificate := files(t)
	authorities := x509.NewCertPool()
	authorities.AddCert(certificate.Leaf)
	cluster := newCluster(t, kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities,
	}))
	config := configOf(cluster.ListenAddrs())
	config.Timeout = 2 * time.Second
	config.CAFile, config.CertFile, config.KeyFile = certFile, certFile, keyFile
	provision(t, config, 4)
	w := acquire(t, connect(t, config))
	w.commit(nil, "one")
	if got := sessions(t, w.b); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	for name, change := range map[string]func(*kafka.Config){
		"no TLS":                func(c *kafka.Config) { c.CAFile, c.CertFile, c.KeyFile = "", "", "" },
		"no client certificate": func(c *kafka.Config) { c.CertFile, c.KeyFile = "", "" },
		"another authority":     func(c *kafka.Config) { c.CAFile, _, _ = files(t) },
	} {
		other := config
		change(&other)
		if _, err := kafka.Connect(t.Context(), other); err == nil {
			t.Errorf("with %s it connects", name)
		}
	}
}

func TestUsersProveWhoTheyAre(t *testing.T) {
	certFile, _, certificate := files(t)
	cluster := newCluster(t, kfake.EnableSASL(), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}),
		kfake.Superuser("PLAIN", "plain", "secret"),
		kfake.Superuser("SCRAM-SHA-256", "scram256", "secret"),
		kfake.Superuser("SCRAM-SHA-512", "scram512", "secret"))
	passwordFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwordFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mechanism, user := range map[string]string{"PLAIN": "plain", "SCRAM-SHA-256": "scram256", "SCRAM-SHA-512": "scram512"} {
		config := configOf(cluster.ListenAddrs())
		config.Timeout = 2 * time.Second
		config.CAFile, config.SASL, config.User, config.PasswordFile = certFile, mechanism, user, passwordFile
		connect(t, config)
		config.PasswordFile, config.Password = "", "wrong"
		if _, err := kafka.Connect(t.Context(), config); err == nil {
			t.Errorf("%s with a wrong password connects", mechanism)
		}
	}
}
