package openobserve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
)

// mostAnswer bounds what is read of an answer, in bytes: a list of 10,000 rows
// is under 2 MB.
const mostAnswer = 16 << 20

// Client speaks to one organisation of a server. Safe for concurrent use.
type Client struct {
	config Config
	http   *http.Client

	mu      sync.Mutex
	secrets map[*Account]string
}

// NewClient checks the config; it does not speak to the server.
func NewClient(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("cannot use OpenObserve: %w", err)
	}
	tls, err := config.tls()
	if err != nil {
		return nil, err
	}
	c := &Client{config: config.withDefaults(), secrets: map[*Account]string{}}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: tls,
			MaxIdleConnsPerHost: 64, WriteBufferSize: 256 << 10, DisableCompression: true,
		},
		// A redirect would turn a POST into something else, or show the password
		// to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close gives the connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one exchange with the server.
type request struct {
	account  *Account // nil = without credentials
	method   string
	path     string
	query    url.Values
	encoding string // of body
	body     []byte
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// sendError is a request that was not answered. With sent the connection had
// taken all of its body, so that the server may have done what it says. (That it
// was written to the network is told later than the server can have answered.)
type sendError struct {
	sent bool
	err  error
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// org is a path below the organisation.
func (c *Client) org(path string) string { return "/api/" + url.PathEscape(c.config.Org) + path }

// do sends a request once; where the server does not know the password any more
// it is read anew, and if it has changed the request is sent again. Any status
// is an answer.
func (c *Client) do(ctx context.Context, r request) (*answer, error) {
	secret, err := c.secret(r.account, false)
	if err != nil {
		return nil, &sendError{err: err}
	}
	a, err := c.try(ctx, r, secret)
	if err != nil || a.status != http.StatusUnauthorized || r.account == nil {
		return a, err
	}
	now, err := c.secret(r.account, true)
	if err != nil || now == secret {
		return a, nil
	}
	return c.try(ctx, r, now)
}

// secret is an account's password as it was read last, or is anew.
func (c *Client) secret(of *Account, anew bool) (string, error) {
	if of == nil {
		return "", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret, ok := c.secrets[of]; ok && !anew {
		return secret, nil
	}
	secret, err := of.secret()
	if err == nil {
		c.secrets[of] = secret
	}
	return secret, err
}

func (c *Client) try(ctx context.Context, r request, secret string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var left atomic.Int64 // of the body
	left.Store(int64(len(r.body)))
	body := func() (io.ReadCloser, error) { return io.NopCloser(&counted{bytes.NewReader(r.body), &left}), nil }
	address := c.config.URL + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.method, address, nil)
	if err != nil {
		return nil, &sendError{err: err}
	}
	if len(r.body) > 0 {
		request.ContentLength, request.GetBody = int64(len(r.body)), body
		request.Body, _ = body()
	}
	if r.method != http.MethodGet && r.method != http.MethodDelete {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.encoding != "" {
		request.Header.Set("Content-Encoding", r.encoding)
	}
	if r.account != nil {
		request.SetBasicAuth(r.account.User, secret)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, &sendError{left.Load() <= 0, withoutURL(err)}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer+1))
	if err == nil && len(text) > mostAnswer {
		err = fmt.Errorf("an answer of more than %d bytes", mostAnswer)
	}
	if err != nil {
		return nil, &sendError{true, err}
	}
	return &answer{response.StatusCode, response.Header, text}, nil
}

// counted counts what is left of a body down.
type counted struct {
	*bytes.Reader
	left *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.left.Add(-int64(n))
	return n, err
}

// WriteTo hides the reader's own, which would not be counted.
func (c *counted) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// withoutURL takes the method and address out of an error of net/http, which
// every message would repeat.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	words  string
}

func (e *refusal) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.words) }

// err is an answer as an error, with the server's own words.
func (a *answer) err() error {
	var said struct {
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	text := string(bytes.TrimSpace(a.body))
	if json.Unmarshal(a.body, &said) == nil {
		if said.Message+said.Error != "" {
			text = said.Message + said.Error
		}
	}
	if len(text) > 300 {
		text = text[:300] + "..."
	}
	if text == "" {
		text = http.StatusText(a.status)
	}
	return &refusal{a.status, text}
}

// call is do for what has to succeed, with JSON in and out; nil = neither.
func (c *Client) call(ctx context.Context, account *Account, method, path string, query url.Values, in, out any) (*answer, error) {
	r := request{account: account, method: method, path: path, query: query}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		r.body = body
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("cannot %s %s: %w", method, path, err)
	}
	if a.status/100 != 2 {
		return a, fmt.Errorf("cannot %s %s: %w", method, path, a.err())
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			return a, fmt.Errorf("cannot read the answer to %s %s: %w", method, path, err)
		}
	}
	return a, nil
}

// Version is what the server calls itself.
func (c *Client) Version(ctx context.Context) (string, error) {
	var config struct {
		Version string `json:"version"`
	}
	_, err := c.call(ctx, nil, http.MethodGet, "/config", nil, nil, &config)
	return config.Version, err
}
