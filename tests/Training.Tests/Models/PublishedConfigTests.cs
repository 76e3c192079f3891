using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Models;

/// <summary>What published <c>config.json</c> files say, and the parameter counts that their models are known to have.</summary>
public sealed class PublishedConfigTests
{
    [Theory]
    // HuggingFaceTB/SmolLM2-135M
    [InlineData(134_515_008,
        """
        {"_name_or_path":"HuggingFaceTB/SmolLM2-135M","architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
        "bos_token_id":0,"eos_token_id":0,"head_dim":64,"hidden_act":"silu","hidden_size":576,"initializer_range":0.041666666666666664,
        "intermediate_size":1536,"is_llama_config":true,"max_position_embeddings":8192,"mlp_bias":false,"model_type":"llama",
        "num_attention_heads":9,"num_hidden_layers":30,"num_key_value_heads":3,"pretraining_tp":1,"rms_norm_eps":1e-05,
        "rope_interleaved":false,"rope_scaling":null,"rope_theta":100000,"tie_word_embeddings":true,"torch_dtype":"bfloat16",
        "transformers_version":"4.45.1","use_cache":true,"vocab_size":49152}
        """)]
    // Qwen/Qwen2.5-0.5B
    [InlineData(494_032_768,
        """
        {"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151643,"hidden_act":"silu",
        "hidden_size":896,"initializer_range":0.02,"intermediate_size":4864,"max_position_embeddings":32768,"max_window_layers":24,
        "model_type":"qwen2","num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"rms_norm_eps":1e-06,
        "rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"torch_dtype":"bfloat16","transformers_version":"4.40.1",
        "use_cache":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936}
        """)]
    // The same as transformers 5 writes it.
    [InlineData(494_032_768,
        """
        {"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"dtype":"bfloat16","eos_token_id":151643,
        "hidden_act":"silu","hidden_size":896,"initializer_range":0.02,"intermediate_size":4864,
        "layer_types":["full_attention","full_attention"],"max_position_embeddings":32768,"max_window_layers":24,"model_type":"qwen2",
        "num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,"pad_token_id":null,"rms_norm_eps":1e-06,
        "rope_parameters":{"rope_theta":1000000.0,"rope_type":"default"},"sliding_window":null,"tie_word_embeddings":true,
        "transformers_version":"5.17.0","use_cache":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936}
        """)]
    // google/codegemma-2b
    [InlineData(2_506_172_416,
        """
        {"architectures":["GemmaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":2,"eos_token_id":1,
        "head_dim":256,"hidden_act":"gelu","hidden_activation":null,"hidden_size":2048,"initializer_range":0.02,"intermediate_size":16384,
        "max_position_embeddings":8192,"model_type":"gemma","num_attention_heads":8,"num_hidden_layers":18,"num_key_value_heads":1,
        "pad_token_id":0,"rms_norm_eps":1e-06,"rope_theta":10000.0,"torch_dtype":"bfloat16","vocab_size":256000}
        """)]
    // openai-community/gpt2-medium
    [InlineData(354_823_168,
        """
        {"_name_or_path":"gpt2-medium","activation_function":"gelu_new","architectures":["GPT2LMHeadModel"],"attn_pdrop":0.1,
        "bos_token_id":50256,"embd_pdrop":0.1,"eos_token_id":50256,"initializer_range":0.02,"layer_norm_epsilon":1e-05,"model_type":"gpt2",
        "n_ctx":1024,"n_embd":1024,"n_head":16,"n_inner":null,"n_layer":24,"n_positions":1024,"n_special":0,"predict_special_tokens":true,
        "reorder_and_upcast_attn":false,"resid_pdrop":0.1,"scale_attn_by_inverse_layer_idx":false,"scale_attn_weights":true,
        "summary_activation":null,"summary_first_dropout":0.1,"summary_proj_to_labels":true,"summary_type":"cls_index",
        "summary_use_proj":true,"task_specific_params":{"text-generation":{"do_sample":true,"max_length":50}},
        "transformers_version":"4.12.5","use_cache":true,"vocab_size":50257}
        """)]
    // microsoft/phi-2
    [InlineData(2_779_683_840,
        """
        {"_name_or_path":"microsoft/phi-2","architectures":["PhiForCausalLM"],"attention_dropout":0.0,"bos_token_id":50256,"embd_pdrop":0.0,
        "eos_token_id":50256,"hidden_act":"gelu_new","hidden_size":2560,"initializer_range":0.02,"intermediate_size":10240,
        "layer_norm_eps":1e-05,"max_position_embeddings":2048,"model_type":"phi","num_attention_heads":32,"num_hidden_layers":32,
        "num_key_value_heads":32,"partial_rotary_factor":0.4,"qk_layernorm":false,"resid_pdrop":0.1,"rope_scaling":null,
        "rope_theta":10000.0,"tie_word_embeddings":false,"torch_dtype":"float16","transformers_version":"4.37.0","use_cache":true,
        "vocab_size":51200}
        """)]
    // EleutherAI/pythia-14m
    [InlineData(14_067_712,
        """
        {"architectures":["GPTNeoXForCausalLM"],"bos_token_id":0,"classifier_dropout":0.1,"eos_token_id":0,"hidden_act":"gelu",
        "hidden_size":128,"initializer_range":0.02,"intermediate_size":512,"layer_norm_eps":1e-05,"max_position_embeddings":2048,
        "model_type":"gpt_neox","num_attention_heads":4,"num_hidden_layers":6,"rotary_emb_base":10000,"rotary_pct":0.25,
        "tie_word_embeddings":false,"torch_dtype":"float16","transformers_version":"4.29.2","use_cache":true,"use_parallel_residual":true,
        "vocab_size":50304}
        """)]
    public void A_published_configuration_is_accepted_and_has_its_parameters(long count, string json) => Assert.Equal(count, ModelRegistry
        .ExpectedParameters(ModelConfig.Parse(json, "config.json"))
        .Sum(static parameter => parameter.Shape.Aggregate(1L, static (product, size) => product * size)));
}
