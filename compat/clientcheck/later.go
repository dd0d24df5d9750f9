package main

import "os"

var stderr = os.Stderr

func playSizes(s *stage) {}
func playWire(s *stage) {}
func playStreams(s *stage) {}
func playRestart(s *stage) {}
func playPressure(s *stage) {}
