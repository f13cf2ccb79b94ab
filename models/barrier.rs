#![cfg(model)]
