"""What Hydra finds of `fistula`: plugins have to lie under `hydra_plugins`. The work is done in `fistula.sweep`."""
