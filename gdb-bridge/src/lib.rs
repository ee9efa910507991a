//! gdb-bridge
