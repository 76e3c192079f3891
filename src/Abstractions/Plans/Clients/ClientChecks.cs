namespace FedRLora.Abstractions.Plans;

/// <summary>Whether there are clients, each with an id of its own.</summary>
internal static class ClientChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        var clients = plan.Clients;
        if (clients.Count == 0)
            yield return new("the list is empty; give at least one client.", "clients");
        var seen = new Dictionary<string, int>(StringComparer.OrdinalIgnoreCase);
        for (var i = 0; i < clients.Count; i++)
        {
            if (clients[i].Id.Length > 0 && !seen.TryAdd(clients[i].Id, i))
            {
                yield return new(
                    $"\"{clients[i].Id}\" is the id of clients[{seen[clients[i].Id]}] already; ids differ in more than the case of "
                        + "letters.",
                    Path(i, "id"));
            }
        }
    }

    /// <summary>Where the value of a client stands, for example <c>clients[3].steps</c>.</summary>
    public static string Path(int index, string key) => $"clients[{index}].{key}";
}
