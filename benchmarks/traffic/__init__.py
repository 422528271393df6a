"""Siaga's Envoy configuration beside the defaults of Envoy and HAProxy, under the same faults."""
