"""What reads files from strangers, by name: each works or raises InputError, and nothing else.

tests/robustness/test_damaged_files.py tries some hundred inputs of each; experiments/fuzzing/run.py goes on for as long
as it is told. A target's seeds are good inputs, from the golden files or made by the libraries that write the format.
"""

from __future__ import annotations

from support.hostile import image_files as pictures
from support.hostile import mutators as m
from support.hostile import run_files as runs
from support.hostile import text_files as texts
from support.hostile import weights_files as weights
from support.hostile.target import Target

TARGETS = {
    target.name: target
    for target in (
        Target("torch_archive", weights.torch_seeds, weights.torch, m.some_zip(m.with_tokens(*weights.PICKLE_WORDS))),
        Target("torch_pickle", weights.pickle_seeds, weights.torch_pickle, m.with_tokens(*weights.PICKLE_WORDS)),
        Target(
            "openai_checkpoint",
            weights.convert_seeds,
            weights.checkpoint,
            m.some_zip(m.with_tokens(*weights.PICKLE_WORDS)),
        ),
        Target("safetensors", weights.safetensors_seeds, weights.safetensors, m.some_safetensors),
        Target(
            "huggingface",
            weights.huggingface_seeds,
            weights.folder,
            m.one_of(
                config_json=m.some_json,
                preprocessor_config_json=m.some_json,
                model_safetensors=m.some_safetensors,
                model_safetensors_index_json=m.some_json,
            ),
        ),
        Target("open_clip", weights.open_clip_seeds, weights.folder, m.one_of(open_clip_config_json=m.some_json)),
        Target(
            "tokenizer",
            texts.token_seeds,
            texts.tokens_of_any,
            m.with_tokens("<|endoftext|>", "&amp;", "&#0;", "&#xd800;", "\u0301", "'", "\U0010ffff"),
        ),
        Target(
            "design",
            lambda: [texts.DESIGN, b"extends: fairface-default\nadd: [child]\n"],
            texts.design,
            m.with_tokens(*texts.DESIGN_WORDS),
        ),
        Target("explorer_design", texts.form_seeds, texts.form, m.some_json),
        Target("csv", texts.csv_seeds, texts.table("csv"), m.with_tokens(*texts.CSV_WORDS)),
        Target("jsonl", texts.jsonl_seeds, texts.table("jsonl"), texts.some_lines),
        Target("parquet", pictures.parquet_seeds, texts.table("parquet")),
        Target("parquet_pictures", pictures.pictures_seeds, pictures.pictures),
        Target("picture", pictures.picture_seeds, pictures.image),
        Target("webdataset", pictures.shard_seeds, pictures.shard, m.some_tar),
        Target("cifar_pickle", pictures.cifar_seeds, pictures.cifar, m.with_tokens(*weights.PICKLE_WORDS)),
        Target("matlab", pictures.mat_seeds, pictures.mat),
        Target(
            "prepared",
            pictures.prepared_seeds,
            pictures.prepared,
            m.one_of(
                info_json=m.some_json,
                table_parquet=m.some_bytes,
                **{"pixels-00000-of-00001_array_record": m.some_bytes},
            ),
        ),
        Target("feature_log", runs.log_seeds, runs.log, m.some_log),
        Target("cached_array", runs.array_seeds, runs.array, m.some_zip(m.some_bytes)),
        Target("run_folder", runs.run_seeds, runs.report, runs.RUN_FILES),
    )
}
