"""What this project is built from: known weaknesses of it, and its oldest and newest versions."""
