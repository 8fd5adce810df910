"""Training data made from scene annotations, and the pretraining of the base model.

- `question_answer`: one question with its answer, the unit of all training text.
- `scene_questions`, `synthetic_shapes`, `text_tasks`, `translations`: the sources of questions.
- `vocabulary`: the texts the tokenizer is built from.
- `dense_targets`: per-patch targets for the vision tower.
- `packing`, `data_loader`: batches.
- `recipe`, `process_group`, `pretraining_model`, `pretrain`: the pretraining loop.
- `expert_plans`, `expert_labels`, `adapter_examples`: what the LoRA adapter is trained on.
- `held_out`: the held-out evaluation.
"""
