// The tables of keys (keys.h): data only.
#include <array>

#include "model/files/keys.h"

namespace penstock {
namespace {

using enum KeyRow::Use;

constexpr auto kDense = "llama qwen2 qwen3";
constexpr auto kMixture = "qwen3moe";

constexpr KeyRow kGguf[] = {
    {"context_length", "", kRead, "", "the model's own limit"},
    {"embedding_length", "", kRead, "", ""},
    {"block_count", "", kRead, "", "layers"},
    {"feed_forward_length", "", kRead, "", "of a dense layer; also as an array of equal numbers"},
    {"attention.head_count", "", kRead, "", "also as an array of equal numbers"},
    {"attention.head_count_kv", "", kRead, "", "also as an array of equal numbers; default: head_count"},
    {"attention.key_length", "", kRead, "", "default: embedding_length / head_count"},
    {"attention.value_length", "", kRead, "", "must equal key_length"},
    {"attention.layer_norm_rms_epsilon", "", kRead, "", ""},
    {"attention.sliding_window", "", kRead, "",
     "the context ends at the window, within which both are equal; 0: none"},
    {"vocab_size", "", kRead, "", "must equal the number of tokens"},
    {"rope.dimension_count", "", kRead, "", "must equal key_length"},
    {"rope.freq_base", "", kRead, "", "default: 10000"},
    {"rope.scaling.type", "", kRead, "", "none, linear or yarn; default: linear"},
    {"rope.scaling.factor", "", kRead, "", "0: 1"},
    {"rope.scale_linear", "", kRead, "", "the old name of rope.scaling.factor, used when that is missing"},
    {"rope.scaling.original_context_length", "", kRead, "", "default: context_length"},
    {"rope.scaling.attn_factor", "", kRead, "", "multiplies the rotated queries and keys"},
    {"rope.scaling.yarn_beta_fast", "", kOnly, "32", "libllama ignores it for these architectures"},
    {"rope.scaling.yarn_beta_slow", "", kOnly, "1", "libllama ignores it for these architectures"},
    {"rope.scaling.yarn_ext_factor", "", kOnly, "1 -1", "libllama ignores it for these architectures"},
    {"rope.scaling.yarn_attn_factor", "", kOnly, "1", "libllama ignores it for these architectures"},
    {"rope.scaling.yarn_log_multiplier", "", kOnly, "0", "libllama ignores it for these architectures"},
    {"rope.scaling.alpha", "", kOnly, "0", ""},
    {"rope.scaling.finetuned", "", kIgnored, "", "how the model was trained"},
    {"expert_count", kMixture, kRead, "", ""},
    {"expert_used_count", kMixture, kRead, "", "also as an array of equal numbers"},
    {"expert_feed_forward_length", kMixture, kRead, "", "also as an array of equal numbers"},
    {"expert_count", kDense, kOnly, "0", "mixtures of these architectures are not supported"},
    {"expert_used_count", kDense, kOnly, "0", "mixtures of these architectures are not supported"},
    {"expert_feed_forward_length", kDense, kOnly, "0", ""},
    {"expert_weights_norm", "", kOnly, "true", "the weights of the chosen experts sum to one"},
    {"expert_weights_scale", "", kOnly, "0 1", ""},
    {"expert_gating_func", "", kOnly, "0 1", "1: softmax"},
    {"expert_group_count", "", kOnly, "0 1", ""},
    {"expert_group_used_count", "", kOnly, "0 1", ""},
    {"expert_shared_count", "", kOnly, "0", ""},
    {"expert_shared_feed_forward_length", "", kOnly, "0", ""},
    {"leading_dense_block_count", "", kOnly, "0", ""},
    {"moe_every_n_layers", "", kOnly, "0 1", ""},
    {"nextn_predict_layers", "", kOnly, "0", ""},
    {"attention.causal", "", kOnly, "true",
     "a model that reads in both directions cannot write; on no runner"},
    {"attention.max_alibi_bias", "", kOnly, "0", ""},
    {"attention.clamp_kqv", "", kOnly, "0", ""},
    {"attention.scale", "", kOnly, "0", ""},
    {"attn_logit_softcapping", "", kOnly, "0", ""},
    {"final_logit_softcapping", "", kOnly, "0", ""},
    {"logit_scale", "", kOnly, "0 1", ""},
    {"residual_scale", "", kOnly, "0 1", ""},
    {"embedding_scale", "", kOnly, "0 1", ""},
    {"use_parallel_residual", "", kOnly, "false", ""},
    {"pooling_type", "", kOnly, "0", "a model with pooling makes embeddings"},
    {"attention.layer_norm_epsilon", "", kIgnored, "",
     "of another kind of norm, which these models do not have"},
    {"tensor_data_layout", "", kIgnored, "", "written by the first converters; the names of tensors decide"},
};

constexpr KeyRow kGeneral[] = {
    {"general.architecture", "", kRead, "", ""},
    {"general.name", "", kRead, "", "shown"},
    {"general.license", "", kRead, "", "shown"},
    {"general.file_type", "", kRead, "", "shown as the quantisation"},
    {"general.alignment", "", kRead, "", "of the tensors' data"},
    {"general.*", "", kIgnored, "", "where the model came from, and its author's advice on sampling"},
    {"split.no", "", kRead, "", "of a split model"},
    {"split.count", "", kRead, "", "of a split model"},
    {"split.tensors.count", "", kRead, "", "of a split model"},
    {"tokenizer.ggml.model", "", kRead, "", ""},
    {"tokenizer.ggml.pre", "", kRead, "", ""},
    {"tokenizer.ggml.tokens", "", kRead, "", "each text once"},
    {"tokenizer.ggml.token_type", "", kRead, "", "corrected for the texts of end tokens"},
    {"tokenizer.ggml.scores", "", kRead, "", ""},
    {"tokenizer.ggml.merges", "", kRead, "", "required for byte-level BPE"},
    {"tokenizer.ggml.bos_token_id", "", kRead, "", "of a sentencepiece vocabulary the default is 1"},
    {"tokenizer.ggml.eos_token_id", "", kRead, "", "of a sentencepiece vocabulary the default is 2"},
    {"tokenizer.ggml.unknown_token_id", "", kRead, "", "of a sentencepiece vocabulary the default is 0"},
    {"tokenizer.ggml.eot_token_id", "", kRead, "", "ends a generation"},
    {"tokenizer.ggml.eom_token_id", "", kRead, "", "ends a generation"},
    {"tokenizer.ggml.fim_pad_token_id", "", kRead, "", "ends a generation"},
    {"tokenizer.ggml.fim_rep_token_id", "", kRead, "", "ends a generation"},
    {"tokenizer.ggml.fim_sep_token_id", "", kRead, "", "ends a generation"},
    {"tokenizer.ggml.add_bos_token", "", kRead, "", "the default depends on the vocabulary, as in libllama"},
    {"tokenizer.ggml.add_eos_token", "", kRead, "", "to the prompt of a plain completion"},
    {"tokenizer.ggml.add_space_prefix", "", kRead, "", ""},
    {"tokenizer.chat_template", "", kRead, "", ""},
    {"tokenizer.chat_template.*", "", kIgnored, "", "only the default template is used"},
    {"tokenizer.chat_templates", "", kIgnored, "", "only the default template is used"},
    {"tokenizer.ggml.*", "", kIgnored, "", "not needed to write text: other special tokens"},
    {"tokenizer.huggingface.json", "", kIgnored, "", "the vocabulary's own keys are used"},
    {"quantize.*, imatrix.*", "", kIgnored, "", "how the file was made"},
};

constexpr auto kWithWindow = "qwen2 qwen3 qwen3_moe";

constexpr KeyRow kConfig[] = {
    {"model_type", "", kRead, "", "the architecture"},
    {"vocab_size", "", kRead, "", "must equal the rows of the embedding"},
    {"hidden_size", "", kRead, "", ""},
    {"intermediate_size", "", kRead, "", ""},
    {"num_hidden_layers", "", kRead, "", ""},
    {"num_attention_heads", "", kRead, "", ""},
    {"num_key_value_heads", "", kRead, "", ""},
    {"head_dim", "", kRead, "", "default: 128 for qwen3, else hidden_size / num_attention_heads"},
    {"max_position_embeddings", "", kRead, "", "the model's own limit"},
    {"rms_norm_eps", "", kRead, "", ""},
    {"tie_word_embeddings", "", kRead, "", ""},
    {"hidden_act", "", kOnly, "silu swish", "two names of one function"},
    {"attention_bias", "llama qwen3 qwen3_moe", kRead, "", "the tensors must agree"},
    {"mlp_bias", "llama", kRead, "", "the tensors must agree"},
    {"rope_scaling", "", kRead, "", "if it is not empty, rope_parameters is not used"},
    {"rope_parameters", "", kRead, "", "default, linear, yarn or llama3"},
    {"rope_theta", "", kRead, "", "used if the object above has none; null is refused"},
    {"partial_rotary_factor", "", kOnly, "1", ""},
    {"original_max_position_embeddings", "", kRead, "", "of yarn and llama3; wins over the object's"},
    {"use_sliding_window", kWithWindow, kRead, "", "default: false"},
    {"sliding_window", "mistral qwen2 qwen3 qwen3_moe", kRead, "",
     "the context ends at the window, within which both are equal; default: 4096"},
    {"max_window_layers", "qwen2 qwen3", kRead, "", "default: 28"},
    {"layer_types", "qwen2 qwen3", kRead, "", ""},
    {"num_experts", "qwen3_moe", kRead, "", "also as num_local_experts"},
    {"num_local_experts", "qwen3_moe", kRead, "", ""},
    {"num_experts_per_tok", "qwen3_moe", kRead, "", ""},
    {"moe_intermediate_size", "qwen3_moe", kRead, "", ""},
    {"norm_topk_prob", "qwen3_moe", kRead, "", "default: false"},
    {"decoder_sparse_step", "qwen3_moe", kOnly, "1", ""},
    {"mlp_only_layers", "qwen3_moe", kOnly, "[]", ""},
    {"eos_token_id", "", kRead, "", "a number or a list: each ends a generation"},
    {"is_causal", "", kOnly, "true", ""},
    {"is_encoder_decoder", "", kOnly, "false", ""},
    {"per_layer_config", "", kOnly, "{}", "layers that differ"},
    {"quantization_config", "", kOnly, "",
     "quantised folders are not supported; use the unquantised model or a GGUF file"},
    {"bos_token_id", "", kIgnored, "", "the tokenizer's files decide"},
    {"pad_token_id", "", kIgnored, "", "used in training"},
    {"pretraining_tp", "llama", kIgnored, "", "how the model was trained; the result is the same"},
    {"initializer_range", "", kIgnored, "", "used in training"},
    {"attention_dropout", "", kIgnored, "", "used in training"},
    {"router_aux_loss_coef", "qwen3_moe", kIgnored, "", "used in training"},
    {"output_router_logits", "qwen3_moe", kIgnored, "", "used in training"},
    {"use_cache", "", kIgnored, "", "how transformers computes; the result is the same"},
    {"chunk_size_feed_forward", "", kIgnored, "", "how transformers computes; the result is the same"},
    {"output_hidden_states", "", kIgnored, "", "what transformers returns"},
    {"output_attentions", "", kIgnored, "", "what transformers returns"},
    {"return_dict", "", kIgnored, "", "what transformers returns"},
    {"architectures", "", kIgnored, "", "model_type and the tensors decide"},
    {"auto_map", "", kIgnored, "", "Python code that comes with the model is not run"},
    {"dtype", "", kIgnored, "", "each tensor has its own"},
    {"torch_dtype", "", kIgnored, "", "each tensor has its own"},
    {"transformers_version", "", kIgnored, "", ""},
    {"id2label", "", kIgnored, "", "of classifiers"},
    {"label2id", "", kIgnored, "", "of classifiers"},
    {"num_labels", "", kIgnored, "", "of classifiers"},
    {"problem_type", "", kIgnored, "", "of classifiers"},
    {"all other fields", "", kIgnored, "", "transformers ignores them too"},
};

}  // namespace

std::span<const KeyRow> GgufKeys() {
  return kGguf;
}
std::span<const KeyRow> GgufGeneralKeys() {
  return kGeneral;
}
std::span<const KeyRow> ConfigFields() {
  return kConfig;
}

}  // namespace penstock
