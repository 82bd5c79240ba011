//! The real `sortd` binary against simulated hardware.
