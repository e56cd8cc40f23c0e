"""Programs that maintain this repository; they are not installed with the package."""
