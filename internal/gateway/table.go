package gateway

import (
	"crypto/tls"
	"net/http"
	"strings"
	"time"
)

// Table is everything the gateway routes by. It is handed over whole to [Gateway.Apply] and must not be changed afterwards.
type Table struct {
	// Routes in no particular order; a host may be named by one route only.
	Routes []Route
	// Backends that the routes name. A backend that is in no route may be here too: it can be sampled and given instances.
	Backends []Backend
	// Certificates given by the user, chosen before any other for the names they carry.
	Certificates []tls.Certificate
	// RequestLog is the template of config-observability logging.request-log-template ("" writes no request log), executed
	// with a [LogRecord].
	RequestLog string
	// RequestLogProbes also logs requests that carry K-Network-Probe (logging.enable-probe-request-log).
	RequestLogProbes bool
}

// Visibility says from where a route may be called.
type Visibility int

const (
	// External routes are reached from outside and from inside instances.
	External Visibility = iota
	// ClusterLocal routes are reached only from inside instances and from this program; others get 404, as if the host were unknown.
	ClusterLocal
)

// Redirect says what a route does with a request that came without TLS.
type Redirect int

const (
	// RedirectNever serves HTTP and HTTPS alike.
	RedirectNever Redirect = iota
	// RedirectToHTTPS answers external plain HTTP with 308 to https, but only when an HTTPS listener is open and a certificate
	// for the host is at hand.
	RedirectToHTTPS
)

// Route is a set of hosts that share rules (one rule set of a Knative Ingress).
type Route struct {
	// Name is unique and used in logs and metrics, by custom "<namespace>/<name>".
	Name string
	// Hosts are names without port, lower case or not; "*.example.com" stands for any one or more labels before example.com. An exact host
	// goes before a wildcard, a longer wildcard before a shorter one.
	Hosts []string
	// Visibility of all the hosts.
	Visibility Visibility
	// Redirect of plain HTTP requests from outside.
	Redirect Redirect
	// Rules in order of preference among equals: the longest path goes first, then the one with more headers.
	Rules []Rule
	// AllowFrom names the callers that may use the route: "namespace/service", "namespace/*", "*" for any instance, "external" for
	// the outside. Empty allows everybody whom Visibility allows. Others get 403.
	AllowFrom []string
	// Notice is shown, as text, to browsers from outside in the place of the answer: an HTML page that loads itself again each second.
	// Every other client gets the answer. Empty is none.
	Notice string
	// Hash is answered in K-Network-Hash to requests with K-Network-Probe: the version of the configuration in force.
	Hash string
}

// Rule is one way a request of a route may match.
type Rule struct {
	// Path is a prefix on whole path segments; "" and "/" match everything.
	Path string
	// Headers must all be present with exactly this value, for example Knative-Serving-Tag: blue.
	Headers map[string]string
	// RewriteHost replaces the Host that the instance sees; the original goes to X-Forwarded-Host. Empty keeps it.
	RewriteHost string
	// SetHeaders are set on the request to the instance.
	SetHeaders map[string]string
	// AllowFrom is a further policy, in the words of Route.AllowFrom: the caller has to be allowed by both.
	AllowFrom []string
	// Splits share the traffic. At least one.
	Splits []Split
}

// Split is a share of a rule's traffic.
type Split struct {
	// Backend is the Name of a Backend of the same table.
	Backend string
	// Weight is the share, relative to the sum over the rule. Splits of weight 0 get nothing; if all are 0 the first gets all.
	Weight int
	// SetHeaders are set on the request to the instance, after those of the rule.
	SetHeaders map[string]string
}

// Protocol is what instances of a backend speak.
type Protocol int

const (
	// HTTP1 is HTTP/1.1, with upgrades (WebSocket).
	HTTP1 Protocol = iota
	// H2C is HTTP/2 without TLS and with prior knowledge: gRPC.
	H2C
)

// Backend is a group of interchangeable instances: a revision.
type Backend struct {
	// Name is the key, by custom "<namespace>/<revision>".
	Name string
	// Namespace, Service, Configuration and Revision are words for the request log and the metrics only; Revision is the last part of Name
	// if it is not given.
	Namespace, Service, Configuration, Revision string
	// Handler, when set, answers all requests in this process; there are no instances, slots or timeouts. It is how the broker is reached.
	Handler http.Handler
	// Protocol that instances speak.
	Protocol Protocol
	// Concurrency is the hard limit of requests at once per instance; 0 is no limit.
	Concurrency int
	// QueueLimit is how many requests may wait for an instance before more are answered 503 with Retry-After; 0 means 10,000.
	QueueLimit int
	// Timeout is the time from arrival to the first byte of the answer, waiting included; past it the answer is 504. An upgraded
	// connection (WebSocket) is ended by it whatever was said on it. 0 is none.
	Timeout time.Duration
	// ResponseStartTimeout is the time from the moment an instance has the request to the first byte of its answer (504), of an
	// upgraded connection the first byte after the upgrade. 0 is none.
	ResponseStartTimeout time.Duration
	// IdleTimeout is the longest time in which no byte of the answer is written: before the first byte 504, later the answer is cut. 0 is none.
	IdleTimeout time.Duration
	// NoWakingPage turns the page off that browsers get when a wake takes longer than a second.
	NoWakingPage bool
	// ServerTiming adds the Server-Timing header of cold starts to every answer that waited for one; without it only requests with the
	// header "Fairlead-Server-Timing: 1" get it.
	ServerTiming bool
}

// Caller is who sent a request: nobody (the outside), or an instance known by the socket its call arrived on.
type Caller struct {
	// Namespace and Service of the calling instance; both empty means the outside.
	Namespace, Service string
	// Revision and Instance are words for the log.
	Revision, Instance string
	// Search lists the domains that are tried, in order, after a host name that is in no route, as in resolv.conf:
	// "<namespace>.svc.cluster.local" makes "http://hello" work from the same namespace.
	Search []string
	// Internal says that the caller is inside: cluster-local routes are visible to it. ServeInternal sets it.
	Internal bool

	host    string // where it is set, the host that the caller means, whatever it says
	secure  bool   // speaks TLS, though the server does not know
	trusted bool   // this program itself: no policy applies
}

// name is the caller in the form of allow-from, "external" for the outside.
func (c *Caller) name() string {
	switch {
	case c.trusted:
		return "fairlead"
	case !c.Internal:
		return "external"
	case c.Service == "":
		return c.Namespace + "/-"
	}
	return c.Namespace + "/" + c.Service
}

// revision is the revision's name for logs and metrics: what was given, or the last part of the key.
func (b *Backend) revision() string {
	if b.Revision != "" {
		return b.Revision
	}
	return b.Name[strings.LastIndexByte(b.Name, '/')+1:]
}
