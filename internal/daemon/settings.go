package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// Settings are all that can be set of a daemon. The zero value is not useful; NewSettings gives the defaults.
type Settings struct {
	// Home is the folder that holds everything Fairlead keeps: store, images, keys, state of the instances, kubeconfig.
	Home string
	// ConfigFile is read when it exists; a file named by a flag or FAIRLEAD_CONFIG has to exist.
	ConfigFile string
	// Addresses in the form host:port; port 0 takes a free one.
	APIListen, GatewayListen, GatewayTLSListen, RegistryListen, MetricsListen string
	// Domain is the last part of every host name: <service>.<namespace>.<domain>.
	Domain string
	// Runtime chooses the sandbox driver: auto, crun, runc or process.
	Runtime string
	// UserNamespaces says whether the users of instances are others than the machine's: auto, required or off.
	UserNamespaces string
	// Spares is how many revisions at zero are kept a created instance for. 0 is a number for the machine's memory, -1 none.
	Spares int
	// StoreQuota is the most the object store may take on disk, in bytes.
	StoreQuota int64
	// EventTTL is how long the API keeps events after their last change.
	EventTTL time.Duration
	// AuditLog is the file that tells who asked the API for what, "" for none; AuditLogLimit is the most bytes that it and the three files
	// before it take.
	AuditLog      string
	AuditLogLimit int64
	// MaxConnections is how many connections of clients the gateway takes at the same time; 0 is a number for the files this process may open.
	MaxConnections int
	// Drain is how long requests in flight may take to finish when the daemon stops.
	Drain time.Duration
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel, LogFormat string
	// Pprof serves Go's profiles below /debug/pprof beside the metrics.
	Pprof bool
	// KeepInstances leaves the instances running when the daemon stops, for the next one to adopt.
	KeepInstances bool
	// HoldPorts is how long the listening sockets stay open for the next daemon, when this one was killed, or stopped with
	// KeepInstances. 0 closes them at once.
	HoldPorts time.Duration
	// Images are the settings of the image store.
	Images ImageSettings
	// ACME is the account for certificates of public host names.
	ACME ACMESettings
	// Disable names components that are not started.
	Disable []string

	from map[string]string
}

// Setting is one line of `fairlead config`.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// NewSettings gives the defaults, which listen on the loopback interface only.
func NewSettings() *Settings {
	return &Settings{
		Home:             defaultHome(),
		APIListen:        "127.0.0.1:6443",
		GatewayListen:    "127.0.0.1:8080",
		GatewayTLSListen: "127.0.0.1:8443",
		RegistryListen:   "127.0.0.1:5000",
		MetricsListen:    "127.0.0.1:9000",
		Domain:           "localhost",
		Runtime:          "auto",
		UserNamespaces:   "auto",
		StoreQuota:       4 << 30,
		EventTTL:         time.Hour,
		AuditLogLimit:    256 << 20,
		Drain:            30 * time.Second,
		HoldPorts:        30 * time.Second,
		LogLevel:         "info",
		LogFormat:        "text",
		from:             map[string]string{},
	}
}

// defaultHome is $XDG_DATA_HOME/fairlead, /var/lib/fairlead for root without a home of its own.
func defaultHome() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "fairlead")
	}
	if dir, err := os.UserHomeDir(); err == nil && dir != "/" {
		return filepath.Join(dir, ".local", "share", "fairlead")
	}
	return "/var/lib/fairlead"
}

// AddFlags defines a flag for every setting.
func (s *Settings) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.Home, "home", s.Home, "folder that holds everything Fairlead keeps")
	flags.StringVar(&s.ConfigFile, "config", s.ConfigFile, "configuration file (default <home>/config.yaml)")
	flags.StringVar(&s.APIListen, "api-listen", s.APIListen, "address of the API")
	flags.StringVar(&s.GatewayListen, "gateway-listen", s.GatewayListen, "address of the gateway, plain HTTP")
	flags.StringVar(&s.GatewayTLSListen, "gateway-tls-listen", s.GatewayTLSListen, "address of the gateway, TLS")
	flags.StringVar(&s.RegistryListen, "registry-listen", s.RegistryListen, "address of the image registry")
	flags.StringVar(&s.MetricsListen, "metrics-listen", s.MetricsListen, "address of /metrics and the health pages")
	flags.StringVar(&s.Domain, "domain", s.Domain, "domain of the services' host names")
	flags.StringVar(&s.Runtime, "runtime", s.Runtime, "sandbox driver: auto, crun, runc or process (process does not isolate)")
	flags.StringVar(&s.UserNamespaces, "userns", s.UserNamespaces, "user namespaces of instances: auto (where it can be), required or off")
	flags.IntVar(&s.Spares, "spares", s.Spares, "how many services at zero, those used last, are kept an instance for that starts faster; 0 is a number for the machine's memory, -1 none")
	flags.Int64Var(&s.StoreQuota, "store-quota", s.StoreQuota, "most bytes the object store may take on disk")
	flags.DurationVar(&s.EventTTL, "event-ttl", s.EventTTL, "how long events are kept")
	flags.StringVar(&s.AuditLog, "audit-log", s.AuditLog, "file that gets a line of JSON for each request to the API (audit.k8s.io/v1, level Metadata)")
	flags.Int64Var(&s.AuditLogLimit, "audit-log-limit", s.AuditLogLimit, "most bytes the audit log may take, with the three files before the present one")
	flags.IntVar(&s.MaxConnections, "max-connections", s.MaxConnections, "connections of clients that the gateway takes at the same time; 0 is a number for the files that the daemon may open, 16384 at most")
	flags.DurationVar(&s.Drain, "drain", s.Drain, "how long requests in flight may take when the daemon stops")
	flags.StringVar(&s.LogLevel, "log-level", s.LogLevel, "debug, info, warn or error")
	flags.StringVar(&s.LogFormat, "log-format", s.LogFormat, "text or json")
	flags.BoolVar(&s.Pprof, "pprof", s.Pprof, "serve Go's profiles below /debug/pprof on the metrics address")
	flags.BoolVar(&s.KeepInstances, "keep-instances", s.KeepInstances, "leave instances running when the daemon stops, for the next one to adopt")
	flags.DurationVar(&s.HoldPorts, "hold-ports", s.HoldPorts, "how long ports stay open for the next daemon when this one was killed, or stopped with --keep-instances")
	s.Images.addFlags(flags)
	s.ACME.addFlags(flags)
	flags.StringSliceVar(&s.Disable, "disable", s.Disable, "components not to start: "+strings.Join(optionalComponents, ", "))
}

// settingNames are the flags that are settings too; a command may have flags of its own beside them.
func settingNames() []string {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	NewSettings().AddFlags(flags)
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// FromEnvironment gives what the environment says of a setting. A variable that is empty is as if it were not there: a unit file, a
// Compose file or a shell that passes on what was never set means nothing by it. Where nothing is a value, a flag or the file gives it.
func FromEnvironment(setting string) (value string, ok bool) {
	value = os.Getenv(EnvironmentName(setting))
	return value, value != ""
}

// EnvironmentName is the environment variable that spells a setting: FAIRLEAD_API_LISTEN for api-listen.
func EnvironmentName(setting string) string {
	return "FAIRLEAD_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// Resolve fills in what no flag gave: first from the environment, then from the configuration file. It refuses
// unknown keys of the file and values that cannot be. The flags may be only some of those of AddFlags.
func (s *Settings) Resolve(given *pflag.FlagSet) error {
	names := settingNames()
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	s.AddFlags(flags)
	for _, name := range names {
		s.from[name] = "default"
		if given.Changed(name) {
			s.from[name] = "flag --" + name
			continue
		}
		if value, ok := FromEnvironment(name); ok {
			variable := EnvironmentName(name)
			if err := flags.Set(name, value); err != nil {
				return fmt.Errorf("environment variable %s: %w", variable, err)
			}
			s.from[name] = "environment " + variable
		}
	}
	if err := s.resolveFile(flags, names); err != nil {
		return err
	}
	home, err := filepath.Abs(s.Home)
	if err != nil {
		return fmt.Errorf("home folder %q: %w", s.Home, err)
	}
	s.Home = home
	return s.validate()
}

func (s *Settings) resolveFile(flags *pflag.FlagSet, names []string) error {
	path, asked := s.ConfigFile, s.ConfigFile != ""
	if !asked {
		path = filepath.Join(s.Home, "config.yaml")
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	keys := map[string]any{}
	if err := yaml.UnmarshalStrict(data, &keys); err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	for key, value := range keys {
		if !slices.Contains(names, key) || key == "home" || key == "config" {
			return fmt.Errorf("configuration file %s: key %q is not a setting; the settings are %s", path, key, strings.Join(names, ", "))
		}
		if s.from[key] != "default" {
			continue
		}
		if err := flags.Set(key, settingText(value)); err != nil {
			return fmt.Errorf("configuration file %s: key %q: %w", path, key, err)
		}
		s.from[key] = "file " + path
	}
	return nil
}

// settingText spells a value of the file as the flag would have it.
func settingText(value any) string {
	switch v := value.(type) {
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = settingText(v[i])
		}
		return strings.Join(parts, ",")
	case float64:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprint(v)
	}
}

func (s *Settings) validate() error {
	for name, address := range map[string]string{
		"api-listen": s.APIListen, "gateway-listen": s.GatewayListen, "gateway-tls-listen": s.GatewayTLSListen,
		"registry-listen": s.RegistryListen, "metrics-listen": s.MetricsListen,
	} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("setting %s: %q is not host:port", name, address)
		}
	}
	if problems := validation.IsDNS1123Subdomain(s.Domain); len(problems) > 0 {
		return fmt.Errorf("setting domain: %q is not a domain: %s", s.Domain, problems[0])
	}
	for name, choice := range map[string]struct {
		value   string
		choices []string
	}{
		"runtime":    {s.Runtime, []string{"auto", "crun", "runc", "process"}},
		"userns":     {s.UserNamespaces, []string{"auto", "required", "off"}},
		"log-level":  {s.LogLevel, []string{"debug", "info", "warn", "error"}},
		"log-format": {s.LogFormat, []string{"text", "json"}},
	} {
		if !slices.Contains(choice.choices, choice.value) {
			return fmt.Errorf("setting %s: %q is none of %s", name, choice.value, strings.Join(choice.choices, ", "))
		}
	}
	for _, name := range s.Disable {
		if !slices.Contains(optionalComponents, name) {
			return fmt.Errorf("setting disable: %q is none of %s", name, strings.Join(optionalComponents, ", "))
		}
	}
	if err := s.Images.apply(&oci.Config{}); err != nil {
		return err
	}
	if _, err := s.ACME.account(); err != nil {
		return err
	}
	if s.Spares < -1 {
		return fmt.Errorf("setting spares: %d is not a number of spares; -1 keeps none", s.Spares)
	}
	if s.StoreQuota < 16<<20 {
		return fmt.Errorf("setting store-quota: %d bytes is too little, the least is %d", s.StoreQuota, 16<<20)
	}
	if s.EventTTL < time.Second {
		return fmt.Errorf("setting event-ttl: %v is too short, the least is 1s", s.EventTTL)
	}
	if s.AuditLogLimit < 1<<20 {
		return fmt.Errorf("setting audit-log-limit: %d bytes is too little, the least is %d", s.AuditLogLimit, 1<<20)
	}
	if s.MaxConnections < 0 {
		return fmt.Errorf("setting max-connections: %d is not a number of connections; 0 lets the daemon choose one", s.MaxConnections)
	}
	if s.HoldPorts < 0 {
		return fmt.Errorf("setting hold-ports: %v is negative", s.HoldPorts)
	}
	if s.Drain < 0 {
		return fmt.Errorf("setting drain: %v is negative", s.Drain)
	}
	return nil
}

// InForce lists every setting with its value and where the value came from. Call it after Resolve.
func (s *Settings) InForce() []Setting {
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	s.AddFlags(flags)
	var list []Setting
	for _, name := range settingNames() {
		value := strings.Trim(flags.Lookup(name).Value.String(), "[]")
		list = append(list, Setting{Name: name, Value: value, From: s.from[name]})
	}
	return list
}

// disabled tells whether a component was asked not to start.
func (s *Settings) disabled(name string) bool { return slices.Contains(s.Disable, name) }

// serves tells whether services are run: objects are stored in any case.
func (s *Settings) serves() bool {
	return !s.disabled("controller") && !s.disabled("gateway") && !s.disabled("sandbox")
}
