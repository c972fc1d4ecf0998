"""Writes a small Llama with random weights: no training, but real tensors, real layers, a real tokenizer."""

import sys

import gguf
import numpy

LAYERS, WIDTH, HEADS, FEED_FORWARD, CONTEXT = 4, 192, 6, 512, 2048

generator = numpy.random.default_rng(20261124)
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_name("firstlight-tiny")
writer.add_context_length(CONTEXT)
writer.add_embedding_length(WIDTH)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(FEED_FORWARD)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

# A SentencePiece vocabulary: three control tokens, the 256 bytes, the printable characters, a few words.
tokens = [b"<unk>", b"<s>", b"</s>"]
kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
scores = [0.0, 0.0, 0.0]
for byte in range(256):
    tokens.append(f"<0x{byte:02X}>".encode())
    kinds.append(gguf.TokenType.BYTE)
    scores.append(0.0)
words = [chr(code) for code in range(33, 127)] + ["\u2581"]
words += [f"\u2581{word}" for word in "the light first shines on every node and pod why not gpu is here".split()]
for rank, word in enumerate(dict.fromkeys(words)):
    tokens.append(word.encode())
    kinds.append(gguf.TokenType.NORMAL)
    scores.append(-float(rank))
while len(tokens) % 32:
    tokens.append(f"<unused{len(tokens)}>".encode())
    kinds.append(gguf.TokenType.UNUSED)
    scores.append(-1e4)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("llama")
writer.add_tokenizer_pre("default")
writer.add_token_list(tokens)
writer.add_token_scores(scores)
writer.add_token_types(kinds)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_unk_token_id(0)


def weights(rows: int, columns: int) -> numpy.ndarray:
    """A matrix of the size that keeps activations near one."""
    return (generator.standard_normal((rows, columns)) / numpy.sqrt(columns)).astype(numpy.float16)


def norm() -> numpy.ndarray:
    return numpy.ones(WIDTH, dtype=numpy.float32)


writer.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
writer.add_tensor("output_norm.weight", norm())
writer.add_tensor("output.weight", weights(len(tokens), WIDTH))
for layer in range(LAYERS):
    prefix = f"blk.{layer}."
    writer.add_tensor(prefix + "attn_norm.weight", norm())
    writer.add_tensor(prefix + "ffn_norm.weight", norm())
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(prefix + name + ".weight", weights(WIDTH, WIDTH))
    writer.add_tensor(prefix + "ffn_gate.weight", weights(FEED_FORWARD, WIDTH))
    writer.add_tensor(prefix + "ffn_up.weight", weights(FEED_FORWARD, WIDTH))
    writer.add_tensor(prefix + "ffn_down.weight", weights(WIDTH, FEED_FORWARD))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
