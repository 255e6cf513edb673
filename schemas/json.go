package schemas

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"
)

// An object is written as ",name:value" by each field; jsonClose turns the
// first comma (at start) into the brace.
func jsonClose(b []byte, start int) []byte {
	if len(b) == start {
		return append(b, "{}"...)
	}
	b[start] = '{'
	return append(b, '}')
}

// jsonKey writes the comma and the name, which needs no escapes.
func jsonKey(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func jsonLong(b []byte, name string, v int64) []byte {
	return strconv.AppendInt(jsonKey(b, name), v, 10)
}

func jsonBool(b []byte, name string, v bool) []byte {
	return strconv.AppendBool(jsonKey(b, name), v)
}

func jsonOptLong(b []byte, name string, v OptLong) []byte {
	if !v.Valid {
		return b
	}
	return jsonLong(b, name, v.Value)
}

func jsonOptBool(b []byte, name string, v OptBool) []byte {
	if !v.Valid {
		return b
	}
	return jsonBool(b, name, v.Value)
}

// jsonOptDouble omits what JSON has no word for (NaN, infinities).
func jsonOptDouble(b []byte, name string, v OptDouble) []byte {
	if !v.Valid || math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
		return b
	}
	format := byte('f')
	if a := math.Abs(v.Value); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(jsonKey(b, name), v.Value, format, -1, 64)
}

func jsonString(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return appendJSONString(jsonKey(b, name), v)
}

func jsonHex(b []byte, name string, v []byte) []byte {
	return appendJSONHex(jsonKey(b, name), v)
}

func appendJSONHex(b, v []byte) []byte {
	b = append(b, '"')
	b = hex.AppendEncode(b, v)
	return append(b, '"')
}

func jsonBase64(b []byte, name string, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(jsonKey(b, name), '"')
	b = base64.StdEncoding.AppendEncode(b, v)
	return append(b, '"')
}

// appendJSONString writes s as a JSON string. What is no UTF-8 becomes U+FFFD,
// and U+2028 and U+2029 are escaped, so that the text is JavaScript too.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		b = append(b, s[from:i]...)
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
		}
		i += size
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
