package jetstream_test

import (
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
)

// installation is the name as a new connection sees it.
func installation(t *testing.T, config jetstream.Config) string {
	t.Helper()
	name, err := connect(t, config).Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestProvisioningAgainKeepsTheNameOfTheInstallation(t *testing.T) {
	config := jetstream.Config{InProcess: embed(t, jetstream.EmbedConfig{Dir: t.TempDir()})}
	if _, err := connect(t, config).Installation(t.Context()); !errors.Is(err, broker.ErrNotProvisioned) {
		t.Errorf("before it was provisioned: %v, want %v", err, broker.ErrNotProvisioned)
	}
	var provisioning sync.WaitGroup
	for range 4 { // at once: one of them makes the name
		provisioning.Go(func() {
			if err := jetstream.Provision(t.Context(), config, 4); err != nil {
				t.Error(err)
			}
		})
	}
	provisioning.Wait()
	first := installation(t, config)
	if !regexp.MustCompile(`^[0-9a-f]{32}/g1$`).MatchString(first) {
		t.Errorf("the name is %q", first)
	}
	config.Layout.Replicas = 1
	config.Layout.EventsBytes = 1 << 30
	provision(t, config, 4)
	if again := installation(t, config); again != first {
		t.Errorf("provisioned again it is %q, was %q", again, first)
	}
	config.Generation = 2
	provision(t, config, 4)
	if next := installation(t, config); next != strings.TrimSuffix(first, "1")+"2" {
		t.Errorf("the next generation of %q is %q", first, next)
	}
}

func TestAnInstallationOfBeforeThereWereNamesGetsOneWhenItIsProvisionedAgain(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	old := s.events.CachedInfo().Config
	delete(old.Metadata, "flightlog.installation")
	if _, err := s.js.UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Installation(t.Context()); !errors.Is(err, broker.ErrNotProvisioned) || !strings.Contains(err.Error(), "provision it again") {
		t.Errorf("without a name: %v, want %v", err, broker.ErrNotProvisioned)
	}
	provision(t, s.config, 4)
	first, err := s.Installation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	provision(t, s.config, 4)
	if again := installation(t, s.config); again != first {
		t.Errorf("provisioned once more it is %q, was %q", again, first)
	}
}

func TestAnInstallationThatIsMadeAnewHasAnotherName(t *testing.T) {
	s := newStand(t, jetstream.Layout{})
	first := installation(t, s.config)
	for name := range s.js.StreamNames(t.Context()).Name() {
		if err := s.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	provision(t, s.config, 4)
	if anew, err := s.Installation(t.Context()); err != nil || anew == first {
		t.Errorf("the connection of before says %q (%v), was %q", anew, err, first)
	}
}
