// Package build makes a container image out of a folder.
//
// [Build] looks at the folder, chooses a builder, says which and why, and gives an image that is not stored anywhere
// yet; [Push] takes it to a registry. Builds run as the calling user and in the calling process, and nothing that an
// image contains is executed outside of a container. The same source gives the same digest.
//
//	result, err := build.Build(ctx, build.Request{Dir: "./hello"})
//	...
//	err = build.Push(ctx, result, "127.0.0.1:5000/hello:latest", build.PushOptions{PlainHTTP: true})
package build
