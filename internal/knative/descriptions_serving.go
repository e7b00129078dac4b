package knative

const servingDescriptions = `
v1.Service: A service: code that answers requests under a URL, from zero instances to as many as the load needs. It owns a configuration, which makes a revision for every change, and a route, which says how requests are divided among revisions.
	spec: What you want: the code to run and how requests are divided.
	status: What is: written by Fairlead, with conditions that say why it is not ready.
v1.ServiceSpec: What you want: the code to run and how requests are divided.
v1.Configuration: The latest wanted state of some code. Every change of its template makes a revision.
	spec: What you want.
	status: What is: the latest revision made and the latest that is ready.
v1.ConfigurationSpec:
	template: What to run. Every change makes a new revision.
v1.RevisionTemplateSpec:
	metadata: Name, labels and annotations of the revisions made.
	spec: The code to run: containers and limits.
v1.ConfigurationStatusFields:
	latestCreatedRevisionName: The revision made last, ready or not.
	latestReadyRevisionName: The last revision that became ready, which requests for the latest revision go to.
v1.Revision: One version of some code, which never changes. It is made by a configuration and scaled on its own.
	spec: The code to run: containers and limits.
	status: What is: the digest of each image and the number of instances.
v1.RevisionSpec:
	containerConcurrency: The most requests one instance is given at a time; more wait. 0 means no limit.
	timeoutSeconds: How long a request may take until its first byte of answer, in seconds. Then the caller gets 504.
	responseStartTimeoutSeconds: How long the answer may take to begin, in seconds; at most timeoutSeconds.
	idleTimeoutSeconds: How long a connection may be silent during an answer, in seconds. 0 means as long as it likes.
v1.RevisionStatus:
	logUrl: Where the logs of this revision are shown.
	containerStatuses: What each container runs, by digest.
	initContainerStatuses: What each init container runs, by digest.
	actualReplicas: How many instances are there.
	desiredReplicas: How many instances the autoscaler wants.
v1.ContainerStatus:
	name: Name of the container.
	imageDigest: The image by digest, as it was found when the revision was made.
v1.Route: Where requests to a host name go: to one revision, or divided among several by percent, with tags that give a revision a host name of its own.
	spec: How requests are divided.
	status: What is: the URL and the division in force.
v1.RouteSpec:
	traffic: How requests are divided among revisions. The percents add up to 100.
v1.TrafficTarget: One share of the requests.
	tag: A name for this target, which gets a host name of its own: <tag>-<service>.<namespace>.<domain>.
	revisionName: The revision that gets this share. In a service, leave it out to mean the latest.
	configurationName: The configuration whose latest ready revision gets this share. Not in a service.
	latestRevision: True follows the latest ready revision as new ones come; false stays with revisionName.
	percent: This target's share of the requests, in percent. A target with a tag may have none.
	url: The URL of the tag.
v1.RouteStatusFields:
	url: Where to send requests from outside.
	address: Where to send requests from inside.
	traffic: The division of requests in force, with every revision by name.
v1.Addressable: Where something takes requests.
	url: The address.
	name: Which of several addresses this is.
	CACerts: Certificates of the authorities to trust there, in PEM form.
	audience: The OIDC audience to ask for.
v1.Status:
	observedGeneration: The generation of the object that this status is about. While it is behind metadata.generation, the status is about an older wish.
	conditions: What has been reached and what not. Ready sums the others up.
	annotations: Further remarks.
apis.Condition: One thing that has been reached or not, and why.
	type: What the condition is about. Ready, or Succeeded for what ends, sums the others up.
	status: True, False, or Unknown while it is being worked on.
	severity: Empty when False means that the object is not ready; Warning or Info otherwise.
	lastTransitionTime: When the status last changed.
	reason: One word for programs: why.
	message: A sentence for people: why.
v1beta1.DomainMapping: A host name of your own for a service. The name of the object is the host name.
	spec: What the host name leads to.
	status: What is: the URL and whether the name could be claimed.
v1beta1.DomainMappingSpec:
	ref: What the host name leads to, usually a Service of serving.knative.dev/v1 in the same namespace.
	tls: The certificate for the host name.
v1beta1.SecretTLS:
	secretName: A secret of the same namespace with tls.crt and tls.key.
v1beta1.DomainMappingStatus:
	url: The URL under the host name.
	address: Where to send requests from inside.
v1.KReference: An object by name.
	apiVersion: Group and version of the kind, for example serving.knative.dev/v1.
	group: Group of the kind, where the version is left to the server.
	kind: The kind.
	name: The object's name.
	namespace: The object's namespace; by default that of the object this stands in.
	address: Which of the object's addresses is meant, by name.
`

const podDescriptions = `
v1.PodSpec:
	containers: The code to run. One container listens on a port and gets the requests; others run beside it.
	initContainers: Containers that run one after the other before the others start. Needs kubernetes.podspec-init-containers in config-features.
	volumes: Files from config maps, secrets, or empty folders, for containers to mount.
	serviceAccountName: Who the code is towards the API. By default the service account named default.
	automountServiceAccountToken: Whether the containers get the token of the service account.
	imagePullSecrets: Secrets with the passwords of image registries.
	enableServiceLinks: Whether containers get variables about every other service of the namespace. Knative says no unless told otherwise.
	affinity: Where instances may run. Needs kubernetes.podspec-affinity in config-features; one machine has one place.
	nodeSelector: Which machines may run instances. Needs kubernetes.podspec-nodeselector in config-features.
	tolerations: Which taints of machines are accepted. Needs kubernetes.podspec-tolerations in config-features.
	topologySpreadConstraints: How instances spread over machines. Needs kubernetes.podspec-topologyspreadconstraints in config-features.
	runtimeClassName: The kind of sandbox: crun, runc, gvisor (for runsc) or process. kubernetes.podspec-runtimeclassname in config-features can forbid it.
	securityContext: User, group and protection of all containers. Needs kubernetes.podspec-securitycontext in config-features.
	dnsPolicy: How names are looked up. Needs kubernetes.podspec-dnspolicy in config-features.
	dnsConfig: Name servers and search domains. Needs kubernetes.podspec-dnsconfig in config-features.
	hostAliases: Further lines of /etc/hosts. Needs kubernetes.podspec-hostaliases in config-features.
	hostNetwork: Whether to use the machine's network. Needs kubernetes.podspec-hostnetwork in config-features.
	hostPID: Whether to see the machine's processes. Needs kubernetes.podspec-hostpid in config-features.
	hostIPC: Whether to share the machine's memory segments. Needs kubernetes.podspec-hostipc in config-features.
	shareProcessNamespace: Whether containers see each other's processes. Needs kubernetes.podspec-shareprocessnamespace in config-features.
	priorityClassName: How important instances are. Needs kubernetes.podspec-priorityclassname in config-features.
	schedulerName: Who places instances. Needs kubernetes.podspec-schedulername in config-features.
v1.Container: A program in a sandbox.
	name: Name of the container; by default user-container.
	image: The image to run. A tag is resolved to a digest once, when the revision is made.
	command: The program to run instead of the image's entrypoint. $(NAME) is replaced by a variable.
	args: Arguments instead of the image's. $(NAME) is replaced by a variable.
	workingDir: The folder to start in instead of the image's.
	env: Environment variables. PORT, K_SERVICE, K_CONFIGURATION and K_REVISION are given.
	envFrom: Environment variables from whole config maps and secrets.
	ports: The port that takes requests. At most one container has one; without it the port is 8080.
	resources: How much memory and processor an instance may have.
	livenessProbe: How to find out that the program hangs; then it is started anew.
	readinessProbe: How to find out that the program can take requests. By default it can when its port takes connections.
	startupProbe: How to find out that the program has started; the other probes wait for it.
	volumeMounts: Where volumes appear among the files.
	securityContext: User, group and protection of this container.
	imagePullPolicy: When to ask the registry: Always, IfNotPresent or Never.
	terminationMessagePath: The file in which the program may say why it ends.
	terminationMessagePolicy: Where to read why the program ended: File, or FallbackToLogsOnError.
v1.ContainerPort: The port that takes requests.
	containerPort: The port's number, which the program gets as PORT.
	name: The protocol: http1, h2c for HTTP/2 without TLS, or empty.
	protocol: TCP.
v1.EnvVar: An environment variable.
	name: The variable's name.
	value: Its value. $(NAME) is replaced by a variable before it.
	valueFrom: Where its value comes from instead.
v1.EnvVarSource:
	configMapKeyRef: A key of a config map of the namespace.
	secretKeyRef: A key of a secret of the namespace.
	fieldRef: A field of the pod. Needs kubernetes.podspec-fieldref in config-features.
	resourceFieldRef: A resource of the container. Needs kubernetes.podspec-fieldref in config-features.
v1.EnvFromSource:
	prefix: What goes before each name.
	configMapRef: The config map whose keys become variables.
	secretRef: The secret whose keys become variables.
v1.ResourceRequirements:
	limits: The most an instance may use: memory, cpu. One that needs more memory is killed.
	requests: What an instance is sure to get: memory, cpu.
v1.Probe:
	httpGet: Ask by an HTTP request; an answer from 200 to 399 is yes.
	tcpSocket: Ask by a connection; one that is taken is yes.
	grpc: Ask by the gRPC health protocol.
	exec: Ask by a command in the container; exit code 0 is yes.
	initialDelaySeconds: How long to wait before the first question, in seconds.
	periodSeconds: How often to ask, in seconds. 0, for readiness only, asks many times a second until the first yes.
	timeoutSeconds: How long an answer may take, in seconds.
	successThreshold: How many times yes means yes.
	failureThreshold: How many times no means no.
	terminationGracePeriodSeconds: How long the program may take to end after this probe failed, in seconds.
v1.VolumeMount:
	name: The volume.
	mountPath: Where it appears.
	subPath: The part of it that appears, by default all.
	readOnly: Whether it cannot be changed.
v1.Volume: Files for containers.
	name: The volume's name, which volumeMounts refer to.
	configMap: The keys of a config map as files.
	secret: The keys of a secret as files.
	projected: Several sources in one folder.
	emptyDir: An empty folder that lives as long as the instance; medium Memory keeps it in memory.
	persistentVolumeClaim: A folder that stays. Needs kubernetes.podspec-persistent-volume-claim in config-features.
v1.SecurityContext:
	runAsUser: The user to run as, by number, instead of the image's.
	runAsGroup: The group to run as, by number.
	runAsNonRoot: Whether to refuse to run as user 0.
	readOnlyRootFilesystem: Whether the files of the image cannot be changed.
	allowPrivilegeEscalation: Whether a program may get more rights than its parent.
	privileged: Only false is allowed.
	capabilities: Rights of the superuser to drop.
	seccompProfile: Which system calls are allowed.
`
