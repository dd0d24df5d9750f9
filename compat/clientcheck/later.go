package main

import "os"

var stderr = os.Stderr

func playStreams(s *stage)  {}
func playRestart(s *stage)  {}
func playPressure(s *stage) {}
