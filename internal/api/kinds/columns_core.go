package kinds

import (
	"fmt"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

const none = "<none>"

func orNone(items []string) string {
	if len(items) == 0 {
		return none
	}
	return strings.Join(items, ",")
}

func namespaceColumns() *columns {
	return &columns{
		names: []column{text("Status", "Active or Terminating."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			n := o.(*corev1.Namespace)
			return []any{string(n.Status.Phase), age(n.CreationTimestamp, now)}
		},
	}
}

func configMapColumns() *columns {
	return &columns{
		names: []column{number("Data", "Number of entries."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			c := o.(*corev1.ConfigMap)
			return []any{int64(len(c.Data) + len(c.BinaryData)), age(c.CreationTimestamp, now)}
		},
	}
}

func secretColumns() *columns {
	return &columns{
		names: []column{text("Type", "What the secret is for."), number("Data", "Number of entries."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			s := o.(*corev1.Secret)
			return []any{string(s.Type), int64(len(s.Data)), age(s.CreationTimestamp, now)}
		},
	}
}

func serviceColumns() *columns {
	return &columns{
		names: []column{text("Type", "How the service is exposed."), text("Cluster-IP", "Address inside."), text("External-IP", "Address outside."),
			text("Port(s)", "Ports, with the node's port after a colon."), ageColumn(), wide("Selector", "Labels of the instances.")},
		cells: func(o runtime.Object, now time.Time) []any {
			s := o.(*corev1.Service)
			return []any{string(s.Spec.Type), orText(s.Spec.ClusterIP, none), externalAddress(s), servicePorts(s), age(s.CreationTimestamp, now), labelText(s.Spec.Selector)}
		},
	}
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func labelText(labels map[string]string) string {
	var parts []string
	for k, v := range labels {
		parts = append(parts, k+"="+v)
	}
	sortStrings(parts)
	return orNone(parts)
}

func externalAddress(s *corev1.Service) string {
	addresses := append([]string{}, s.Spec.ExternalIPs...)
	for _, i := range s.Status.LoadBalancer.Ingress {
		addresses = append(addresses, orText(i.IP, i.Hostname))
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		addresses = append(addresses, s.Spec.ExternalName)
	}
	return orNone(addresses)
}

func servicePorts(s *corev1.Service) string {
	var parts []string
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			parts = append(parts, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	return orNone(parts)
}

func endpointsColumns() *columns {
	return &columns{
		names: []column{text("Endpoints", "Addresses with their ports."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			e := o.(*corev1.Endpoints)
			var all []string
			for _, s := range e.Subsets {
				for _, a := range s.Addresses {
					for _, p := range s.Ports {
						all = append(all, fmt.Sprintf("%s:%d", a.IP, p.Port))
					}
				}
			}
			return []any{firstThree(all), age(e.CreationTimestamp, now)}
		},
	}
}

func firstThree(all []string) string {
	if len(all) > 3 {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:3], ","), len(all)-3)
	}
	return orNone(all)
}

func endpointSliceColumns() *columns {
	return &columns{
		names: []column{text("AddressType", "IPv4, IPv6 or FQDN."), text("Ports", "Ports."), text("Endpoints", "Addresses."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			e := o.(*discoveryv1.EndpointSlice)
			var ports, addresses []string
			for _, p := range e.Ports {
				if p.Port != nil {
					ports = append(ports, fmt.Sprint(*p.Port))
				}
			}
			for _, a := range e.Endpoints {
				addresses = append(addresses, a.Addresses...)
			}
			return []any{string(e.AddressType), firstThree(ports), firstThree(addresses), age(e.CreationTimestamp, now)}
		},
	}
}

func serviceAccountColumns() *columns {
	return &columns{
		names: []column{number("Secrets", "Number of secrets it names."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			s := o.(*corev1.ServiceAccount)
			return []any{int64(len(s.Secrets)), age(s.CreationTimestamp, now)}
		},
	}
}

func claimColumns() *columns {
	return &columns{
		names: []column{text("Status", "Pending, Bound or Lost."), text("Volume", "Name of the volume."), text("Capacity", "Size it has."),
			text("Access Modes", "Who may use it at once."), text("StorageClass", "Kind of storage."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			c := o.(*corev1.PersistentVolumeClaim)
			size := resource.Quantity{}
			if c.Spec.VolumeName != "" {
				size = c.Status.Capacity[corev1.ResourceStorage]
			}
			class := ""
			if c.Spec.StorageClassName != nil {
				class = *c.Spec.StorageClassName
			}
			return []any{string(c.Status.Phase), c.Spec.VolumeName, sizeText(size), accessModes(c.Status.AccessModes), class, age(c.CreationTimestamp, now)}
		},
	}
}

func sizeText(q resource.Quantity) string {
	if q.IsZero() {
		return ""
	}
	return q.String()
}

func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	short := map[corev1.PersistentVolumeAccessMode]string{corev1.ReadWriteOnce: "RWO", corev1.ReadOnlyMany: "ROX", corev1.ReadWriteMany: "RWX", corev1.ReadWriteOncePod: "RWOP"}
	var parts []string
	for _, m := range modes {
		parts = append(parts, short[m])
	}
	return strings.Join(parts, ",")
}

func eventColumns() *columns {
	return &columns{
		names: []column{text("Last Seen", "When it was last seen."), text("Type", "Normal or Warning."), text("Reason", "Why, in one word."),
			text("Object", "What it is about."), text("Message", "What happened.")},
		cells: func(o runtime.Object, now time.Time) []any {
			e := o.(*corev1.Event)
			seen := e.LastTimestamp
			if seen.IsZero() {
				seen.Time = e.EventTime.Time
			}
			if e.Series != nil {
				seen.Time = e.Series.LastObservedTime.Time
			}
			object := strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
			return []any{age(seen, now), e.Type, e.Reason, object, strings.TrimSpace(e.Message)}
		},
	}
}

func leaseColumns() *columns {
	return &columns{
		names: []column{text("Holder", "Who holds it."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			l := o.(*coordinationv1.Lease)
			holder := ""
			if l.Spec.HolderIdentity != nil {
				holder = *l.Spec.HolderIdentity
			}
			return []any{holder, age(l.CreationTimestamp, now)}
		},
	}
}

func bindingColumns() *columns {
	return &columns{
		names: []column{text("Role", "The role that is given."), ageColumn(), wide("Users", "Users who have it."), wide("Groups", "Groups who have it."), wide("ServiceAccounts", "Service accounts who have it.")},
		cells: func(o runtime.Object, now time.Time) []any {
			ref, subjects := bindingParts(o)
			var users, groups, accounts []string
			for _, s := range subjects {
				switch s.Kind {
				case rbacv1.UserKind:
					users = append(users, s.Name)
				case rbacv1.GroupKind:
					groups = append(groups, s.Name)
				case rbacv1.ServiceAccountKind:
					accounts = append(accounts, s.Namespace+"/"+s.Name)
				}
			}
			return []any{ref.Kind + "/" + ref.Name, age(accessor(o).GetCreationTimestamp(), now),
				strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
		},
	}
}

func hookColumns() *columns {
	return &columns{
		names: []column{number("Webhooks", "Number of webhooks."), ageColumn()},
		cells: func(o runtime.Object, now time.Time) []any {
			n := 0
			switch h := o.(type) {
			case *admissionregistrationv1.MutatingWebhookConfiguration:
				n = len(h.Webhooks)
			case *admissionregistrationv1.ValidatingWebhookConfiguration:
				n = len(h.Webhooks)
			}
			return []any{int64(n), age(accessor(o).GetCreationTimestamp(), now)}
		},
	}
}
