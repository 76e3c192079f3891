using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Trackers;

/// <summary>
/// The values of a plan for trackers, flat, under the names of the plan's keys. What stands for people and places stays here: names of
/// clients, sites and tasks, labels, and every path; of the model goes the last part of its path.
/// </summary>
internal static class PlanParameters
{
    private static readonly string[] Paths = ["path", "from", "train", "test"];

    // Words as plans write them, and nothing that only follows from other values.
    private static readonly JsonSerializerOptions Options = new()
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) }, IgnoreReadOnlyProperties = true,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>The values, by name, in the order of the plan.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Of(FederationPlan plan)
    {
        var values = new List<KeyValuePair<string, string>>();
        Add("name", plan.Name);
        Add("seed", plan.Seed.ToString(CultureInfo.InvariantCulture));
        Add("sharing", JsonNamingPolicy.CamelCase.ConvertName(plan.Sharing.ToString()));
        Add("model", Path.GetFileName(Path.TrimEndingDirectorySeparator(plan.Model.Path)));
        Add("model.storage", JsonNamingPolicy.CamelCase.ConvertName(plan.Model.Storage.ToString()));
        Flatten("adapter", plan.Adapter);
        Flatten("training", plan.Training);
        Flatten("strategy", plan.Strategy);
        Flatten("evaluation", plan.Evaluation);
        Add("clients", Count(plan.Clients.Count));
        Add("sites", Count(plan.Clients.Select(static client => client.Site).Distinct().Count()));
        Add("tasks", Count(plan.Clients.Select(static client => client.Task).Distinct().Count()));
        return values;

        void Flatten<T>(string name, T part) => Walk(name, JsonSerializer.SerializeToElement(part, Options));

        void Walk(string name, JsonElement element)
        {
            if (element.ValueKind == JsonValueKind.Object && element.EnumerateObject().All(static property => IsName(property.Name)))
            {
                foreach (var property in element.EnumerateObject())
                {
                    var key = JsonNamingPolicy.CamelCase.ConvertName(property.Name);
                    if (!Paths.Contains(key, StringComparer.Ordinal)) Walk($"{name}.{key}", property.Value);
                }
            }
            else if (element.ValueKind != JsonValueKind.Null)
            {
                Add(name, element.ValueKind == JsonValueKind.String ? element.GetString()! : element.GetRawText());
            }
        }

        void Add(string name, string value) => values.Add(new(name, value));
    }

    // What every tracker takes.
    private static bool IsName(string key) =>
        key.Length > 0 && key.All(static sign => char.IsAsciiLetterOrDigit(sign) || sign is '_' or '-' or '.');

    private static string Count(int count) => count.ToString(CultureInfo.InvariantCulture);
}
