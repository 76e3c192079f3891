using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using FedRLora.Training.Adapters.Peft;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>Every key of a PEFT configuration, by what it means here.</summary>
public sealed partial class PeftOptionsTests
{
    private static readonly string[] On =
    [
        "true", "1", "-0.5", "\"yes\"", "\"false\"", "[1]", "[\"lm_head\"]", "[null]", "{\"a\": null}", "{\"embed_tokens\": [1]}",
    ];

    private static readonly string[] Off = ["null", "false", "0", "\"\"", "[]"];

    // A key of another type than PEFT writes.
    private static readonly Dictionary<string, string[]> Wrong = new(StringComparer.Ordinal)
    {
        ["peft_type"] = ["null", "7", "\"IA3\"", "\"ADALORA\"", "\"lora\"", "[\"LORA\"]"],
        ["r"] = ["null", "\"4\"", "4.5", "0", "-1", "true", "[4]"],
        ["lora_alpha"] = ["null", "\"8\"", "0", "-8", "false", "{}"],
        ["use_rslora"] = ["\"true\"", "1", "0", "[]"],
        ["use_dora"] = ["\"false\"", "1", "{}"],
        ["target_modules"] = ["null", "[]", "3", "true", "{\"q_proj\": 1}", "[1]", "[null]", "\"q(\""],
        ["exclude_modules"] = ["3", "true", "{}", "[1]", "\"(\"", "\"*\""],
        ["layers_to_transform"] = ["\"0\"", "[\"0\"]", "-1", "[0.5]", "true", "{}"],
        ["layers_pattern"] = ["1", "[1]", "true", "{}", "\"[\""],
        ["rank_pattern"] = ["[]", "4", "{\"q_proj\": \"4\"}", "{\"q_proj\": 0}", "{\"q_proj\": null}", "{\"(\": 4}"],
        ["alpha_pattern"] = ["[]", "\"q_proj\"", "{\"q_proj\": \"4\"}", "{\"q_proj\": 0}", "{\"q_proj\": true}", "{\"[\": 4}"],
        ["fan_in_fan_out"] = ["\"true\"", "1", "[]"],
        ["init_lora_weights"] =
            ["3", "[]", "{}", "\"\"", "\"True\"", "\"pissa\"", "\"pissa_niter_4\"", "\"olora\"", "\"corda\"", "\"loftq\""],
        ["bias"] = ["true", "1", "\"None\"", "\"\"", "[]", "[\"none\"]"],
        ["ensure_weight_tying"] = ["\"true\"", "1", "[]"],
        ["base_model_name_or_path"] = ["1", "[]"],
    };

    public static TheoryData<string> Computed => Of(PeftMeaning.Computed);

    public static TheoryData<string> Refused => Of(PeftMeaning.Refused);

    public static TheoryData<string> WithoutInfluence => Of(PeftMeaning.WithoutInfluence);

    [Theory, MemberData(nameof(Refused))]
    public void An_option_that_is_not_implemented_is_refused_by_name_where_it_is_on(string key) =>
        Assert.All(On, value => Assert.StartsWith($"c: {key} is {value}, expected null", RefusalOf(key, value), StringComparison.Ordinal));

    [Theory, MemberData(nameof(Refused))]
    public void An_option_that_is_off_says_nothing(string key) =>
        Assert.All(Off, value => Assert.Equal(4, Parse(key, value).Spec.Rank));

    [Theory]
    [InlineData("kasa_config", true)]
    [InlineData("velora_config", true)]
    [InlineData("monteclora_config", true)]
    [InlineData("loftq_config", false)]
    [InlineData("use_bdlora", false)]
    public void An_empty_object_is_on_where_PEFT_takes_it_for_the_defaults(string key, bool on)
    {
        if (on) Assert.StartsWith($"c: {key} is {{}}, expected null", RefusalOf(key, "{}"), StringComparison.Ordinal);
        else Assert.Equal(4, Parse(key, "{}").Spec.Rank);
    }

    [Theory, MemberData(nameof(WithoutInfluence))]
    public void A_key_without_influence_is_read_whatever_it_says(string key)
    {
        var fitting = On.Except(Wrong.GetValueOrDefault(key, [])).Where(value => key != PeftOptions.BaseModel || value[0] == '"');
        Assert.All(fitting.Concat(["null"]), value => Assert.Empty(Parse(key, value).Notes));
    }

    [Theory, MemberData(nameof(Computed))]
    public void A_value_of_another_type_is_refused_by_its_key(string key) =>
        Assert.All(Wrong[key], value => Assert.Contains($"c: {key}", RefusalOf(key, value), StringComparison.Ordinal));

    [Fact]
    public void A_key_without_influence_that_is_read_has_its_type_too() =>
        Assert.All(
            Wrong[PeftOptions.BaseModel],
            value => Assert.Contains("base_model_name_or_path", RefusalOf(PeftOptions.BaseModel, value), StringComparison.Ordinal));

    [Theory]
    [InlineData("base_model.model.a.lora_diag", "kasa_config")]
    [InlineData("base_model.model.a.lora_diag.default", "kasa_config")]
    [InlineData("base_model.model.a.lora_monteclora_sampler.weight", "monteclora_config")]
    [InlineData("base_model.model.a.lora_arrow.default.prototypes", "arrow_config")]
    [InlineData("base_model.model.a.token_adapter.trainable_tokens_delta", "trainable_token_indices")]
    [InlineData("base_model.model.a.modules_to_save.weight", "modules_to_save")]
    [InlineData("base_model.model.a.lora_B.bias", "lora_bias")]
    [InlineData("base_model.model.a.lora_B.default.bias", "lora_bias")]
    [InlineData("base_model.model.a.ia3_l", "peft_type")]
    [InlineData("prompt_embeddings", "peft_type")]
    [InlineData("base_model.model.a.lora_E", null)]
    public void The_option_behind_a_tensor_is_known(string tensor, string? option) => Assert.Equal(option, PeftOptions.Behind(tensor));

    [Fact]
    public void The_table_of_the_documentation_has_every_key_with_its_meaning()
    {
        var rows = File.ReadLines(SourceTree.File("docs", "adapters.md"))
            .Select(static line => Row().Match(line)).Where(static row => row.Success);
        var said = rows.SelectMany(static row =>
            Key().Matches(row.Groups["keys"].Value).Select(key => (Key: key.Groups[1].Value, Meaning: row.Groups["meaning"].Value)));

        Assert.Equal(
            PeftOptions.Known.Select(static entry => (entry.Key, Words(entry.Value))).Order(),
            said.Order());
    }

    private static TheoryData<string> Of(PeftMeaning meaning) =>
        [.. PeftOptions.Known.Where(entry => entry.Value == meaning).Select(static entry => entry.Key).Order(StringComparer.Ordinal)];

    private static string Words(PeftMeaning meaning) =>
        meaning == PeftMeaning.WithoutInfluence ? "without influence" : meaning.ToString().ToLowerInvariant();

    private static string RefusalOf(string key, string value) => Assert.Throws<BadInputException>(() => Parse(key, value)).Message;

    private static PeftSettings Parse(string key, string value)
    {
        var config = new JsonObject
        {
            ["peft_type"] = "LORA", ["r"] = 4, ["lora_alpha"] = 8, ["target_modules"] = new JsonArray("q_proj"), [key] = "?",
        };
        return PeftConfig.Parse(Encoding.UTF8.GetBytes(config.ToJsonString().Replace("\"?\"", value, StringComparison.Ordinal)), "c");
    }

    [GeneratedRegex(@"^\| (?<keys>`[a-z_]+`(?:, `[a-z_]+`)*) \| (?<meaning>computed|warned|without influence|refused) \|")]
    private static partial Regex Row();

    [GeneratedRegex("`([a-z_]+)`")]
    private static partial Regex Key();
}
