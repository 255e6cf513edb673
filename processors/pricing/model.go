package pricing

import "strings"

// endpoint is where a request was served, as far as prices go by it.
type endpoint uint8

const (
	endpointUnsaid   endpoint = iota // the model id does not say
	endpointGlobal                   // anywhere: the plain list price
	endpointRegional                 // kept in a region: dearer on new models
	endpointUnknown                  // at a cloud vendor's, global or regional
	endpointForeign                  // a platform that no price is known for
)

// orPlatform is the endpoint by the platform's name where the model id did not
// tell.
func (e endpoint) orPlatform(platform string) endpoint {
	if e != endpointUnsaid {
		return e
	}
	switch platform {
	case "", "firstParty", "foundry":
		return endpointGlobal
	case "bedrock", "vertex":
		return endpointUnknown
	}
	return endpointForeign
}

// platform is whose id the model's was, where nobody names the platform.
func (e endpoint) platform() string {
	switch e {
	case endpointUnsaid:
		return "firstParty"
	case endpointUnknown:
		return "vertex"
	case endpointForeign:
		return ""
	}
	return "bedrock"
}

// parseModel maps the ids under which a model is known to the vendor's name of
// it without date, and tells the endpoint where the id does (contract §8):
//
//	claude-opus-4-5-20251101, claude-opus-4-5[1m], claude-3-5-haiku-latest
//	anthropic.claude-opus-4-5-20251101-v1:0        Bedrock, in one region
//	us.anthropic.claude-opus-4-5-20251101-v1:0     Bedrock, in one part of the world
//	global.anthropic.claude-opus-4-5-20251101-v1:0 Bedrock, anywhere
//	arn:aws:bedrock:…/us.anthropic.claude-…        the same as an ARN
//	claude-opus-4-5@20251101                       Vertex
//
// What else an id holds stays in the name, so that an unknown form is an
// unknown model.
func parseModel(id string) (string, endpoint) {
	at := endpointUnsaid
	if strings.HasPrefix(id, "arn:") {
		id = id[strings.LastIndexByte(id, '/')+1:]
	}
	if before, after, found := strings.Cut(id, "anthropic."); found {
		switch {
		case before == "global.":
			at = endpointGlobal
		case before == "", isRegion(before):
			at = endpointRegional
		default:
			return id, endpointForeign
		}
		id, _, _ = strings.Cut(after, ":")
	} else if before, _, found := strings.Cut(id, "@"); found {
		id, at = before, endpointUnknown
	}
	id = strings.TrimSuffix(id, "[1m]")
	if i := strings.LastIndex(id, "-v"); i >= 0 && isDigits(id[i+2:]) {
		id = id[:i]
	}
	if i := strings.LastIndexByte(id, '-'); i >= 0 && (id[i+1:] == "latest" || len(id)-i-1 == 8 && isDigits(id[i+1:])) {
		id = id[:i]
	}
	return id, at
}

// isRegion tells a prefix like "us." or "us-gov.".
func isRegion(prefix string) bool {
	name, found := strings.CutSuffix(prefix, ".")
	if !found || name == "" {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}

// OnCloud tells a request that a cloud vendor bills, by the platform's name or
// by the form of the model's id.
func (t *Table) OnCloud(platform, model string) bool {
	switch platform {
	case "bedrock", "vertex", "foundry":
		return true
	}
	_, at := parseModel(t.named(model))
	return at != endpointUnsaid && at != endpointForeign
}

// named is the id that an alias stands for, else the id itself.
func (t *Table) named(id string) string {
	if name, known := t.aliases[id]; known {
		return name
	}
	if name, known := t.aliases[strings.TrimSuffix(id, "[1m]")]; known {
		return name
	}
	return id
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
