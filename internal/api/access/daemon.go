package access

import "k8s.io/apiserver/pkg/authentication/user"

// ByDaemon tells whether a request is this process's own. Nobody, nil, is not.
func ByDaemon(who user.Info) bool { return who != nil && who.GetName() == user.APIServerUser }
