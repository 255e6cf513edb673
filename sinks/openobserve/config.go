package openobserve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Defaults of Config.
const (
	DefaultOrg     = "default"
	DefaultStreams = "flightlog"
	DefaultTimeout = 60 * time.Second
)

// Config says which server, and as whom.
type Config struct {
	// URL of the server, with ZO_BASE_URI if it has one.
	URL string
	// Org is the organisation's identifier; default "default".
	Org string
	// Loading is the account that rows are sent with: best the ingestion
	// passcode, which is good for nothing else (contract §0.3).
	Loading Account
	// Admin is the account that streams and dashboards are made with, and that
	// asks which rows are stored. Without one nothing can be asked: after an
	// answer that was lost a batch is sent again, and its rows may stand twice.
	Admin Account
	// CAFile is the PEM of the authorities that the server's certificate is
	// checked against; default: the system's.
	CAFile string
	// Streams begins the name of every stream; default "flightlog". The rows of
	// enriched are then in flightlog_enriched.
	Streams string
	// Generation of the rows: streams of later ones than the first end in _gN.
	Generation int64
	// Timeout of one request; default 60 s.
	Timeout time.Duration
	// AskEvery is how often a sink asks how old rows may be; default a minute.
	AskEvery time.Duration
}

// Account is a user with a password, or with what stands for one: a passcode,
// the token of a service account.
type Account struct {
	User string
	// PasswordFile holds the password; white space around it is cut. It is read
	// again when the server refuses what it held before.
	PasswordFile string
	// Password that the caller has from its environment.
	Password string
}

// IsSet tells whether anything of it was given.
func (a *Account) IsSet() bool { return a.User != "" || a.PasswordFile != "" || a.Password != "" }

// secret is the password as it is now.
func (a *Account) secret() (string, error) {
	if a.PasswordFile == "" {
		return a.Password, nil
	}
	text, err := os.ReadFile(a.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the password of %s: %w", a.User, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Ingestion changes a stream's name silently: everything outside of letters,
// digits, _ and : becomes _, capitals become small; searching does not (contract
// §1.3 and §0.0). So only names that stay as they are will do.
var streamsPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

var orgPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

func (c Config) withDefaults() Config {
	c.URL = strings.TrimRight(c.URL, "/")
	if c.Org == "" {
		c.Org = DefaultOrg
	}
	if c.Streams == "" {
		c.Streams = DefaultStreams
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.AskEvery == 0 {
		c.AskEvery = time.Minute
	}
	if c.Generation == 0 {
		c.Generation = 1
	}
	return c
}

// Validate reports everything that is wrong, each with key, value and what would
// be right.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(key string, value any, right string) {
		errs = append(errs, fmt.Errorf("%s: %v: %s", key, value, right))
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.User != nil:
		wrong("url", "(hidden)", "must be a URL without user or password")
	case u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "":
		wrong("url", fmt.Sprintf("%q", c.URL), "must look like https://openobserve.example.com")
	}
	if c.Org != "" && !orgPattern.MatchString(c.Org) {
		wrong("org", c.Org, "must be an organisation's identifier: letters, digits, - and _")
	}
	if c.Streams != "" && !streamsPattern.MatchString(c.Streams) {
		wrong("streams", c.Streams, "must be small letters, digits and _, at most 64, a letter first")
	}
	for _, account := range []struct {
		key string
		Account
	}{{"user", c.Loading}, {"admin_user", c.Admin}} {
		if !account.IsSet() {
			continue
		}
		if account.User == "" {
			wrong(account.key, `""`, "must be set with a password")
		}
		if strings.Contains(account.User, ":") {
			wrong(account.key, account.User, "must not have a colon")
		}
		if (account.PasswordFile == "") == (account.Password == "") {
			wrong(account.key, account.User, "must have a password from a file or from the environment, one of the two")
			continue
		}
		if secret, err := account.secret(); err != nil {
			errs = append(errs, err)
		} else if secret == "" {
			wrong(account.key, account.User, "has an empty password")
		}
	}
	if c.CAFile != "" {
		if _, err := c.authorities(); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Timeout < 0 || c.AskEvery < 0 {
		wrong("timeout, ask_every", fmt.Sprint(c.Timeout, ", ", c.AskEvery), "must not be negative")
	}
	return errors.Join(errs...)
}

func (c *Config) authorities() (*x509.CertPool, error) {
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_file: %s: holds no certificate in PEM", c.CAFile)
	}
	return pool, nil
}

func (c *Config) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pool, err := c.authorities()
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	return config, nil
}

// InClear tells that passwords and rows go over a network unencrypted.
func (c *Config) InClear() bool {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}
