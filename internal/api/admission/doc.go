// Package admission is the admission plug-in through which every write of a Knative object, and of a ConfigMap that
// holds Knative's settings, goes: it runs Knative's own defaults and validation in this process, where upstream has
// webhooks. Refusals and warnings are upstream's word for word.
//
// [New] makes the plug-in, which the API server takes as one of its admission plug-ins; [Plugin.Run] keeps its
// settings as the ConfigMaps of knative-serving and knative-eventing say. Until Run has read them, the settings of a
// fresh installation are in force. A Plugin may be asked from many goroutines.
package admission
