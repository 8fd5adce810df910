"""How scenes and objects of the twin are drawn: meshes, textures, camera, light."""
