"""Random scenes of the MuJoCo twin: what is in them, how they are rendered, and how they are stored.

- `annotation`: ground truth of one image (`SceneAnnotation`, `ObjectAnnotation`).
- `object_catalog`, `stages`: what the model is taught about each object and stage. No other module of `mini` names one.
- `arrangement`, `arrangement_sampler`: where objects and arm are; numbers only.
- `resting_poses`, `scene_renderer`: physics and images.
- `rendered_dataset`: rendered scenes on disk, in shards.
"""
