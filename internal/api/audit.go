package api

import (
	"fmt"

	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
)

// AuditLog says where it is written down who asked for what.
type AuditLog struct {
	// File gets one line of JSON, an Event of audit.k8s.io/v1 at the level Metadata, for each request; empty for no log.
	// It is made with mode 0600; its folder has to exist. When it is full it becomes File.1, and so on to File.3.
	File string
	// LimitBytes is the most that the file and the three before it take, at least 1 MiB; 0 is 256 MiB.
	LimitBytes int64
}

const (
	auditLimitBytes    = 256 << 20
	auditMinLimitBytes = 1 << 20
	auditOldFiles      = 3
)

// check fills in what was left out.
func (a AuditLog) check() (AuditLog, error) {
	if a.LimitBytes == 0 {
		a.LimitBytes = auditLimitBytes
	}
	if a.LimitBytes < auditMinLimitBytes {
		return a, fmt.Errorf("api: audit log: a limit of %d bytes is too little, the least is %d", a.LimitBytes, auditMinLimitBytes)
	}
	return a, nil
}

// open opens the log for appending; nil where there is none.
func (a AuditLog) open() (*rotatingFile, error) {
	if a.File == "" {
		return nil, nil //nolint:nilnil // no log was asked for
	}
	file, err := openRotating(a.File, a.LimitBytes/(auditOldFiles+1), auditOldFiles)
	if err != nil {
		return nil, fmt.Errorf("api: audit log: %w", err)
	}
	return file, nil
}

// audit makes the servers write the log. Everything is in it that changes or reads an object, refused requests too, but for what the
// daemon reads for itself and for questions after its health.
func (s *Server) audit(config *genericapiserver.RecommendedConfig) {
	if s.auditLog == nil {
		return
	}
	config.AuditBackend = auditlog.NewBackend(s.auditLog, auditlog.FormatJson, auditv1.SchemeGroupVersion)
	config.AuditPolicyRuleEvaluator = auditpolicy.NewPolicyRuleEvaluator(&audit.Policy{
		OmitStages: []audit.Stage{audit.StageRequestReceived},
		Rules: []audit.PolicyRule{
			{Level: audit.LevelNone, Users: []string{user.APIServerUser}, Verbs: []string{"get", "list", "watch"}},
			{Level: audit.LevelNone, NonResourceURLs: []string{"/healthz*", "/livez*", "/readyz*"}},
			{Level: audit.LevelMetadata},
		},
	})
}
